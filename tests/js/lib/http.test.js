// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRetryAfter } from "../../../static/js/lib/http.js";

test("Retry-After is seconds or a date; anything else is ignored", () => {
  assert.deepEqual([parseRetryAfter("7"), parseRetryAfter("0"), parseRetryAfter(null), parseRetryAfter(""), parseRetryAfter("soon"), parseRetryAfter("-3")], [7_000, 0, undefined, undefined, undefined, undefined]);
  const inAMinute = parseRetryAfter(new Date(Date.now() + 60_000).toUTCString()) ?? 0;
  assert.ok(inAMinute > 55_000 && inAMinute <= 60_000, String(inAMinute));
  assert.equal(parseRetryAfter(new Date(Date.now() - 60_000).toUTCString()), undefined);
});

test("Retry-After never exceeds the limit of timers", () => {
  assert.ok((parseRetryAfter("1e12") ?? Infinity) < 2 ** 31);
});
