// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { Delivery, MAX_HELD_FRAMES } from "../../../static/js/connection/delivery.js";

/** @param {number} id @param {Partial<import("../../../static/js/connection/sse.js").Frame>} [members] */
const frame = (id, members) => ({ event: "", data: `<p>${id}</p>`, id: String(id), retry: null, ...members });

/** A screen that remembers what it showed; writing takes a turn of the loop, as swapping does. */
function screen({ cursor = 10, fails = new Set([0]), pageCursor = 0 } = {}) {
  /** @type {string[]} */
  const shown = [];
  const feed = {
    /** @param {import("../../../static/js/connection/sse.js").Frame} one */
    async write(one) {
      await new Promise((resolve) => { setImmediate(resolve); });
      const ids = one.data.match(/\d+/g) ?? [];
      if (ids.some((id) => fails.has(Number(id)))) throw new Error("bad selector");
      shown.push(...ids);
    },
  };
  const refetch = async () => {
    await new Promise((resolve) => { setImmediate(resolve); });
    shown.push("page");
    return pageCursor;
  };
  return { shown, delivery: new Delivery(cursor, feed, refetch, { log: () => {} }) };
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

test("a reset reloads the page's regions and continues from their cursor", async () => {
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

test("a frame that cannot be shown reloads the regions, and the next one is shown", async () => {
  const { shown, delivery } = screen({ fails: new Set([11]), pageCursor: 11 });
  await delivery.take(frame(11));
  await delivery.take(frame(12));
  assert.deepEqual(shown, ["page", "12"]);
});

test("a signal advances the cursor and is dispatched", async () => {
  /** @type {unknown[]} */
  const heard = [];
  const document = new EventTarget();
  document.addEventListener("beacon:signal", (event) => heard.push(/** @type {CustomEvent} */ (event).detail));
  Object.assign(globalThis, { document });
  const { shown, delivery } = screen();
  await delivery.take(frame(11, { event: "signal", data: '{"type":"flag.changed"}' }));
  assert.deepEqual([heard, shown, delivery.cursor], [[{ type: "flag.changed" }], [], 11]);
});

test("during a pause only signals get through, and then everything is shown in order", async () => {
  /** @type {string[]} */
  const heard = [];
  const document = new EventTarget();
  document.addEventListener("beacon:signal", () => heard.push("signal"));
  Object.assign(globalThis, { document });
  const { shown, delivery } = screen();
  delivery.hold();
  await delivery.take(frame(11));
  await delivery.take(frame(12, { event: "signal", data: "{}" }));
  await delivery.take(frame(13));
  assert.deepEqual([shown, heard, delivery.cursor, delivery.received], [[], ["signal"], 10, 13]);
  await delivery.release();
  assert.deepEqual([shown, delivery.cursor], [["11", "13"], 13]);
});

test("too many frames during a pause become one reload", async () => {
  const { shown, delivery } = screen({ pageCursor: 9_000 });
  delivery.hold();
  for (let id = 11; id <= 11 + MAX_HELD_FRAMES * 2; id += 1) await delivery.take(frame(id));
  await delivery.release();
  assert.deepEqual([shown, delivery.cursor, delivery.received], [["page"], 9_000, 9_000]);
});

test("if neither a frame nor the page can be shown, the frames behind it are not shown either", async () => {
  /** @type {string[]} */
  const shown = [];
  const feed = {
    /** @param {import("../../../static/js/connection/sse.js").Frame} one */
    async write(one) {
      if (one.id === "11" && shown.length === 0) throw new Error("bad selector");
      shown.push(one.id ?? "");
    },
  };
  /** @type {unknown[]} */
  const poison = [];
  const watch = { log() {}, renderFailed: () => poison.push(1) };
  let away = true;
  const refetch = async () => {
    if (away) throw new Error("server away");
    shown.push("page");
    return 11;
  };
  const delivery = new Delivery(10, feed, refetch, watch);
  const outcomes = await Promise.allSettled([11, 12, 13].map((id) => delivery.take(frame(id))));
  assert.deepEqual(outcomes.map((outcome) => outcome.status), ["rejected", "rejected", "rejected"]);
  assert.deepEqual([shown, delivery.cursor, delivery.received, poison.length], [[], 10, 10, 1]);
  away = false;
  for (const id of [11, 12]) await delivery.take(frame(id));
  assert.deepEqual(shown, ["page", "12"]);
});

test("queued frames are shown together, up to the size of a batch", async () => {
  /** @type {string[]} */
  const written = [];
  const feed = {
    /** @param {import("../../../static/js/connection/sse.js").Frame} one */
    async write(one) {
      written.push(`${one.id}: ${one.data.length}`);
    },
  };
  const delivery = new Delivery(10, feed, async () => 0, { log: () => {} });
  const half = "x".repeat(8_000);
  await Promise.all([11, 12, 13, 14].map((id) => delivery.take(frame(id, { data: half }))));
  assert.deepEqual(written, ["11: 8000", "13: 16001", "14: 8000"]); // the first one waits for nobody
  assert.equal(delivery.cursor, 14);
});

test("one bad frame in a batch does not stop the others", async () => {
  const { shown, delivery } = screen({ fails: new Set([13]), pageCursor: 13 });
  await Promise.all([11, 12, 13, 14, 15].map((id) => delivery.take(frame(id))));
  assert.deepEqual(shown, ["11", "12", "page", "14", "15"]);
});

test("other tasks run between two batches", async () => {
  const { delivery } = screen();
  let turns = 0;
  setImmediate(function again() {
    turns += 1;
    if (delivery.cursor < 14) setImmediate(again);
  });
  const large = "<p>1</p>".padEnd(15_000);
  await Promise.all([11, 12, 13, 14].map((id) => delivery.take(frame(id, { data: large }))));
  assert.ok(turns >= 4);
});

test("an operator's message is shown during a pause, and its row waits with the others", async () => {
  /** @type {string[]} */
  const written = [];
  const feed = {
    /** @param {import("../../../static/js/connection/sse.js").Frame} one */
    async write(one) {
      written.push(one.data);
    },
  };
  const delivery = new Delivery(10, feed, async () => 0, { log: () => {} });
  const flash = '<hx-upsert hx-target="#flashes" key="data-id"><p>late &lt;/hx-upsert&gt;</p></hx-upsert>';
  const row = '<hx-upsert hx-target="#changes"><tr></tr></hx-upsert>';
  delivery.hold();
  await delivery.take(frame(11, { data: `${flash} ${row}` }));
  await new Promise((resolve) => { setImmediate(resolve); });
  assert.deepEqual(written, [flash]);
  await delivery.release();
  assert.deepEqual(written, [flash, ` ${row}`]);
  assert.equal(delivery.cursor, 11);
});
