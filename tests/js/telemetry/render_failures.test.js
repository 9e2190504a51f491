// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { FAILURE_WINDOW_MS, recordRenderFailure } from "../../../static/js/telemetry/render_failures.js";

test("two events within a minute that cannot be shown are an error, one is not", () => {
  const first = recordRenderFailure([], 0);
  assert.equal(first.broken, false);
  assert.equal(recordRenderFailure(first.moments, FAILURE_WINDOW_MS - 1).broken, true);
  assert.equal(recordRenderFailure(first.moments, FAILURE_WINDOW_MS).broken, false);
});
