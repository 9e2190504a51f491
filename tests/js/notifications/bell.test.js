// @ts-check
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { unreadText, countLeading, newIds, concernsNotifications, readWidgetToken, formatUntil } from "../../../static/js/notifications/bell.js";
import { originsToAsk, mustRenew, nextPollDelay } from "../../../static/js/widget/widget_rules.js";
import { Refetch } from "../../../static/js/lib/refetch.js";

test("only events about notifications name them", () => {
  const types = ["notification.created", "notification.changed", "flag.changed", undefined];
  assert.deepEqual(types.map((type) => concernsNotifications({ type })), [true, true, false, false]);
  assert.equal(concernsNotifications(null), false);
});

test("the bell shows nothing, a number, or that there are many", () => {
  assert.deepEqual([0, 1, 99, 100, Number.NaN].map(unreadText), ["", "1", "99", "99+", ""]);
});

test("news is what came after the page was made, once", () => {
  const items = [{ id: "3", at: "2026-11-21T12:00:02.000Z" }, { id: "2", at: "2026-11-21T12:00:01.000Z" }, { id: "1", at: "2026-11-21T11:00:00.000Z" }];
  assert.deepEqual(newIds(new Set(["2"]), items, "2026-11-21T12:00:00.000Z"), ["3"]);
});

test("an end is said with its day only where it is another one", () => {
  const now = new Date(2026, 10, 21, 12, 0);
  assert.equal(formatUntil(new Date(2026, 10, 21, 12, 30), now), "12:30");
  assert.equal(formatUntil(new Date(2026, 10, 22, 8, 5), now), "22 Nov, 08:05");
});

test("a token is taken only from an allowed page that holds the frame", () => {
  const parent = {};
  const data = { type: "beacon:widget-token", token: "bcw_1" };
  const origins = ["https://a.example"];
  assert.equal(readWidgetToken({ origin: "https://a.example", source: parent, data }, origins, parent), "bcw_1");
  assert.equal(readWidgetToken({ origin: "https://b.example", source: parent, data }, origins, parent), null);
  assert.equal(readWidgetToken({ origin: "https://a.example", source: {}, data }, origins, parent), null);
  for (const bad of [null, "bcw_1", { token: "x" }, { ...data, token: 7 }, { ...data, token: "" }]) {
    assert.equal(readWidgetToken({ origin: "https://a.example", source: parent, data: bad }, origins, parent), null);
  }
});

test("asked often, it looks once, and once more when it was asked meanwhile", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  let looks = 0;
  /** @type {() => void} */
  let answer = () => {};
  const refetch = new Refetch(() => new Promise((resolve) => { looks += 1; answer = resolve; }), 500);
  for (let n = 0; n < 5; n += 1) refetch.soon();
  mock.timers.tick(500);
  assert.equal(looks, 1);
  refetch.soon();
  refetch.soon();
  answer();
  await new Promise((resolve) => { setImmediate(resolve); });
  mock.timers.tick(500);
  assert.equal(looks, 2);
  mock.timers.reset();
});

test("what stands before the first known row is new, whatever came and went below", () => {
  const shown = new Set(["3", "2", "1"]);
  assert.equal(countLeading(shown, ["5", "4", "3", "2"]), 2);
  assert.equal(countLeading(shown, ["3", "1", "0"]), 0);
  assert.equal(countLeading(new Set(), ["2", "1"]), 2);
});

test("the widget renews its token before it ends, asks only who is around it, and waits as long as it was told to", () => {
  assert.deepEqual([0, 479_999, 480_000].map((now) => mustRenew(0, now, 600_000)), [false, false, true]);
  const origins = ["https://a.example", "https://b.example"];
  assert.deepEqual(originsToAsk(origins, "https://b.example"), ["https://b.example"]);
  assert.deepEqual(originsToAsk(origins, "https://c.example"), []);
  assert.deepEqual(originsToAsk(origins, undefined), origins);
  assert.deepEqual([undefined, 1_000, 30_000].map((asked) => nextPollDelay(5_000, asked)), [5_000, 5_000, 30_000]);
});
