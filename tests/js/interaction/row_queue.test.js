import assert from "node:assert/strict";
import { test } from "node:test";

import { RowQueue } from "../../../static/js/interaction/row_queue.js";

test("rows wait oldest first, each once, in its newest version", () => {
  const waiting = new RowQueue(10);
  for (const [id, row] of /** @type {[number, string][]} */ ([[3, "c"], [1, "a"], [3, "c2"]])) waiting.add(id, row);
  assert.equal(waiting.count, 2);
  assert.deepEqual(waiting.take(), ["a", "c2"]);
  assert.equal(waiting.count, 0);
});

test("no more rows are kept than the list shows, but all are counted", () => {
  const waiting = new RowQueue(3);
  for (let id = 1; id <= 500; id += 1) waiting.add(id, id);
  assert.equal(waiting.count, 500);
  assert.deepEqual(waiting.take(), [498, 499, 500]);
});
