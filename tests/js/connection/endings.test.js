// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamBye, isError, pollEndEvent, streamEndEvent } from "../../../static/js/connection/endings.js";
import { DifferentUserError, ResponseError } from "../../../static/js/lib/http.js";
import { StreamEnded } from "../../../static/js/connection/stream.js";

test("each error of a stream has its own event", () => {
  const reasons = [
    new StreamEnded("silence"), new StreamEnded("no-hello"), new TypeError("network"), new ResponseError("refused", 503, 7_000),
    new ResponseError("wrong-type", 200), new ResponseError("redirect", 0),
  ].map((error) => streamEndEvent(error));
  assert.deepEqual(reasons.map(({ kind }) => kind), Array.from({ length: 6 }, () => "failed"));
  assert.deepEqual(reasons.map((one) => "reason" in one && one.reason), ["silence", "no-hello", "lost", "refused", "wrong-type", "wrong-type"]);
  assert.equal("retryAfterMs" in (reasons[3] ?? {}) && reasons[3]?.kind === "failed" && reasons[3].retryAfterMs, 7_000);
});

test("an ended login and a flag that is off are no failures", () => {
  assert.deepEqual(streamEndEvent(new ResponseError("refused", 401)), { kind: "signed-out" });
  assert.deepEqual(streamEndEvent(new ResponseError("flag-off", 403)), { kind: "flag-off" });
  assert.equal(streamEndEvent(new ResponseError("forbidden", 403)).kind, "failed");
  assert.deepEqual(streamEndEvent(new DifferentUserError()), { kind: "other-user" });
  assert.deepEqual(streamEndEvent(new StreamBye("drain", 2_000)), { kind: "bye", reason: "drain", retryMs: 2_000 });
});

test("a poll has the same events for logins, and passes on Retry-After", () => {
  assert.deepEqual(pollEndEvent(new ResponseError("refused", 401)), { kind: "signed-out" });
  assert.deepEqual(pollEndEvent(new DifferentUserError()), { kind: "other-user" });
  assert.deepEqual(pollEndEvent(new ResponseError("refused", 429, 3_000)), { kind: "poll-failed", retryAfterMs: 3_000 });
  assert.deepEqual(pollEndEvent(new TypeError("network")), { kind: "poll-failed", retryAfterMs: undefined });
});

test("a goodbye and a flag that is off are not among the errors", () => {
  const errors = [new StreamBye("lifetime", null), new ResponseError("flag-off", 403), new StreamEnded("silence"), new ResponseError("refused", 503)];
  assert.deepEqual(errors.map(isError), [false, false, true, true]);
});
