// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { mustRenew, nextPollDelay, originsToAsk, readWidgetToken } from "../../../static/js/widget/widget_rules.js";

test("the widget renews its token early, asks only the embedding page, and obeys Retry-After", () => {
  assert.deepEqual([0, 479_999, 480_000].map((now) => mustRenew(0, now, 600_000)), [false, false, true]);
  const origins = ["https://a.example", "https://b.example"];
  assert.deepEqual(originsToAsk(origins, "https://b.example"), ["https://b.example"]);
  assert.deepEqual(originsToAsk(origins, "https://c.example"), []);
  assert.deepEqual(originsToAsk(origins, undefined), origins);
  assert.deepEqual([undefined, 1_000, 30_000].map((asked) => nextPollDelay(5_000, asked)), [5_000, 5_000, 30_000]);
});

test("a token is accepted only from the embedding page, and only if its origin is allowed", () => {
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
