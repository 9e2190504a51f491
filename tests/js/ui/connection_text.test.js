// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeConnection } from "../../../static/js/ui/connection_text.js";

/** @typedef {import("../../../static/js/connection/status.js").Status} Status */

/** @type {Status} */
const LIVE = {
  state: "connected", reason: "live", failures: 0, lateS: 0, since: 0, nextAttemptAt: null, errors: [], role: "alone", paused: false, broken: false,
};

test("a pause is shown while events come in", () => {
  assert.equal(describeConnection({ ...LIVE, paused: true }).word, "Paused");
  assert.equal(describeConnection({ ...LIVE, state: "polling", reason: "flag-off", paused: true }).word, "Polling, paused");
  assert.equal(describeConnection({ ...LIVE, state: "reconnecting", reason: "lost" }).word, "Reconnecting");
});

test("a stream that is late does not claim to be live, and is not read aloud every second", () => {
  const words = describeConnection({ ...LIVE, reason: "late", lateS: 8 });
  assert.deepEqual([words.word, words.spoken, words.look], ["Late by 8 s", "Late", "reconnecting"]);
  assert.doesNotMatch(words.sentence, /the moment/);
});

test("a buffered stream says why the page polls", () => {
  const held = describeConnection({ ...LIVE, state: "polling", reason: "no-hello" });
  assert.deepEqual([held.word, held.look], ["Polling", "polling"]);
  assert.match(held.sentence, /stays silent, perhaps because of a proxy/);
});

test("a pause is only shown if there is something to pause", () => {
  const quiet = { reason: "live", paused: true, broken: false };
  assert.deepEqual([describeConnection({ ...quiet, state: "connected" }).word, describeConnection({ ...quiet, state: "offline", reason: "no-network" }).word], ["Paused", "Offline"]);
  assert.equal(describeConnection({ ...quiet, state: "connected", broken: true }).word, "Display error");
});
