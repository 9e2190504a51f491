// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { batchLength, joinFrames, yieldToPage } from "../../../static/js/connection/batches.js";

/** @param {string} data @param {string} [event] */
const frame = (data, event = "") => ({ event, data, id: "1", retry: null });

test("small fragments are shown together, up to the size of a batch", () => {
  assert.equal(batchLength([]), 0);
  assert.equal(batchLength(Array.from({ length: 10 }, () => frame("x".repeat(1_000)))), 10);
  assert.equal(batchLength(Array.from({ length: 40 }, () => frame("x".repeat(1_000)))), 16);
  assert.equal(batchLength([frame("x".repeat(100_000)), frame("x")]), 1);
});

test("signals and resets are delivered alone", () => {
  assert.equal(batchLength([frame("{}", "signal"), frame("x")]), 1);
  assert.equal(batchLength([frame("x"), frame("y"), frame("{}", "reset"), frame("z")]), 2);
});

test("a batch is one frame under the last id", () => {
  assert.deepEqual(joinFrames([frame("a"), { ...frame("b"), id: "2" }]), { event: "", data: "a\nb", id: "2", retry: null });
  assert.throws(() => joinFrames([]), /nothing to show/);
});

test("other tasks run before the next batch", async () => {
  const order = [];
  setImmediate(() => order.push("other task"));
  await yieldToPage();
  await yieldToPage();
  order.push("next batch");
  assert.deepEqual(order, ["other task", "next batch"]);
});
