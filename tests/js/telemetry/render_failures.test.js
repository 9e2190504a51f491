// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { FAILURE_WINDOW_MS, recordRenderFailure } from "../../../static/js/telemetry/render_failures.js";

test("one event that cannot be shown is bad luck, two within a minute are an error", () => {
  const first = recordRenderFailure([], 0);
  assert.equal(first.broken, false);
  assert.equal(recordRenderFailure(first.moments, FAILURE_WINDOW_MS - 1).broken, true);
  assert.equal(recordRenderFailure(first.moments, FAILURE_WINDOW_MS).broken, false);
});
