// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { concernsNotifications } from "../../../static/js/notifications/signals.js";

test("only events about notifications lead to a refetch", () => {
  const types = ["notification.created", "notification.changed", "flag.changed", undefined];
  assert.deepEqual(types.map((type) => concernsNotifications({ type })), [true, true, false, false]);
  assert.equal(concernsNotifications(null), false);
});
