// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { Bye, isTrouble, pollEnded, streamEnded } from "../../../static/js/connection/endings.js";
import { OtherUser, Refused, retryAfter } from "../../../static/js/lib/http.js";
import { Ended } from "../../../static/js/connection/stream.js";

test("each end of a stream is what it is", () => {
  const reasons = [
    new Ended("silence"), new Ended("no-hello"), new TypeError("network"), new Refused("refused", 503, 7_000),
    new Refused("wrong-type", 200), new Refused("redirect", 0),
  ].map((error) => streamEnded(error));
  assert.deepEqual(reasons.map(({ kind }) => kind), Array.from({ length: 6 }, () => "failed"));
  assert.deepEqual(reasons.map((one) => "reason" in one && one.reason), ["silence", "no-hello", "lost", "refused", "wrong-type", "wrong-type"]);
  assert.equal("retryAfterMs" in (reasons[3] ?? {}) && reasons[3]?.kind === "failed" && reasons[3].retryAfterMs, 7_000);
});

test("a login that ended and a flag that is off are no failures", () => {
  assert.deepEqual(streamEnded(new Refused("refused", 401)), { kind: "signed-out" });
  assert.deepEqual(streamEnded(new Refused("flag-off", 403)), { kind: "flag-off" });
  assert.equal(streamEnded(new Refused("forbidden", 403)).kind, "failed");
  assert.deepEqual(streamEnded(new OtherUser()), { kind: "other-user" });
  assert.deepEqual(streamEnded(new Bye("drain", 2_000)), { kind: "bye", reason: "drain", retryMs: 2_000 });
});

test("a poll says the same of logins, and passes on when to come back", () => {
  assert.deepEqual(pollEnded(new Refused("refused", 401)), { kind: "signed-out" });
  assert.deepEqual(pollEnded(new OtherUser()), { kind: "other-user" });
  assert.deepEqual(pollEnded(new Refused("refused", 429, 3_000)), { kind: "poll-failed", retryAfterMs: 3_000 });
  assert.deepEqual(pollEnded(new TypeError("network")), { kind: "poll-failed", retryAfterMs: undefined });
});

test("a goodbye and a flag that is off are not among the errors", () => {
  const errors = [new Bye("lifetime", null), new Refused("flag-off", 403), new Ended("silence"), new Refused("refused", 503)];
  assert.deepEqual(errors.map(isTrouble), [false, false, true, true]);
});

test("Retry-After is seconds or a date, and nonsense is nothing", () => {
  assert.deepEqual([retryAfter("7"), retryAfter("0"), retryAfter(null), retryAfter(""), retryAfter("soon"), retryAfter("-3")], [7_000, 0, undefined, undefined, undefined, undefined]);
  const inAMinute = retryAfter(new Date(Date.now() + 60_000).toUTCString()) ?? 0;
  assert.ok(inAMinute > 55_000 && inAMinute <= 60_000, String(inAMinute));
  assert.equal(retryAfter(new Date(Date.now() - 60_000).toUTCString()), undefined);
});

test("no wait is so long that a timer would fire at once", () => {
  assert.ok((retryAfter("1e12") ?? Infinity) < 2 ** 31);
});
