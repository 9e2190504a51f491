// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { countLeading, newIds, unreadText } from "../../../static/js/notifications/bell.js";

test("the bell shows nothing, a number, or 99+", () => {
  assert.deepEqual([0, 1, 99, 100, Number.NaN].map(unreadText), ["", "1", "99", "99+", ""]);
});

test("notifications newer than the page are announced once", () => {
  const items = [{ id: "3", at: "2026-11-21T12:00:02.000Z" }, { id: "2", at: "2026-11-21T12:00:01.000Z" }, { id: "1", at: "2026-11-21T11:00:00.000Z" }];
  assert.deepEqual(newIds(new Set(["2"]), items, "2026-11-21T12:00:00.000Z"), ["3"]);
});

test("rows above the first known one are new, whatever changed below", () => {
  const shown = new Set(["3", "2", "1"]);
  assert.equal(countLeading(shown, ["5", "4", "3", "2"]), 2);
  assert.equal(countLeading(shown, ["3", "1", "0"]), 0);
  assert.equal(countLeading(new Set(), ["2", "1"]), 2);
});
