// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { Delivery } from "../../static/js/delivery.js";

/** @param {number} id @param {Partial<import("../../static/js/sse.js").Frame>} [members] */
const frame = (id, members) => ({ event: "", data: `<p>${id}</p>`, id: String(id), retry: null, ...members });

/** A screen that remembers what it showed; writing takes a turn of the loop, as swapping does. */
function screen({ cursor = 10, fails = new Set([0]), pageCursor = 0 } = {}) {
  /** @type {string[]} */
  const shown = [];
  const feed = {
    /** @param {import("../../static/js/sse.js").Frame} one */
    async write(one) {
      await new Promise((resolve) => { setImmediate(resolve); });
      if (fails.has(Number(one.id))) throw new Error("bad selector");
      shown.push(one.id ?? "");
    },
  };
  const refetch = async () => {
    await new Promise((resolve) => { setImmediate(resolve); });
    shown.push("page");
    return pageCursor;
  };
  return { shown, delivery: new Delivery(cursor, feed, refetch, () => {}) };
}

test("an event at or below the cursor is not shown again", async () => {
  const { shown, delivery } = screen();
  for (const id of [9, 10, 11, 11, 12]) await delivery.take(frame(id));
  assert.deepEqual(shown, ["11", "12"]);
  assert.equal(delivery.cursor, 12);
});

test("a stream and a poll that overlap show every event once and in order", async () => {
  const { shown, delivery } = screen();
  const ids = [11, 12, 13, 14, 15];
  const read = async () => { for (const id of ids) await delivery.take(frame(id)); };
  await Promise.all([read(), read()]);
  assert.deepEqual(shown, ids.map(String));
});

test("a reset shows the page again and goes on from the page's cursor", async () => {
  const { shown, delivery } = screen({ pageCursor: 45 });
  await Promise.all([
    delivery.take(frame(41, { event: "reset", data: '{"reason":"pruned","head":41}' })),
    delivery.take(frame(44)), // committed before the page was read: it is on it
    delivery.take(frame(46)),
  ]);
  assert.deepEqual(shown, ["page", "46"]);
  assert.equal(delivery.cursor, 46);
});

test("a reset may lead back, after a database was restored", async () => {
  const { delivery } = screen({ cursor: 900, pageCursor: 7 });
  await delivery.take(frame(7, { event: "reset", data: '{"reason":"future","head":7}' }));
  assert.equal(delivery.cursor, 7);
});

test("a frame that cannot be shown is made up for by the page, and the next one goes on", async () => {
  const { shown, delivery } = screen({ fails: new Set([11]), pageCursor: 11 });
  await delivery.take(frame(11));
  await delivery.take(frame(12));
  assert.deepEqual(shown, ["page", "12"]);
});

test("a signal moves the cursor and is told to whom it concerns", async () => {
  /** @type {unknown[]} */
  const heard = [];
  const document = new EventTarget();
  document.addEventListener("beacon:signal", (event) => heard.push(/** @type {CustomEvent} */ (event).detail));
  Object.assign(globalThis, { document });
  const { shown, delivery } = screen();
  await delivery.take(frame(11, { event: "signal", data: '{"type":"flag.changed"}' }));
  assert.deepEqual([heard, shown, delivery.cursor], [[{ type: "flag.changed" }], [], 11]);
});
