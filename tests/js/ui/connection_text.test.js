// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeMode } from "../../../static/js/ui/connection_details.js";
import { describeConnection } from "../../../static/js/ui/connection_text.js";

/** @typedef {import("../../../static/js/connection/status.js").Status} Status */

/** @type {Status} */
const LIVE = {
  state: "connected", reason: "live", failures: 0, lateS: 0, since: 0, nextAttemptAt: null, errors: [], role: "alone", paused: false, broken: false,
};

test("a pause shows wherever something comes in", () => {
  assert.equal(describeConnection({ ...LIVE, paused: true }).word, "Paused");
  assert.equal(describeConnection({ ...LIVE, state: "polling", reason: "flag-off", paused: true }).word, "Polling, paused");
  assert.equal(describeConnection({ ...LIVE, state: "reconnecting", reason: "lost" }).word, "Reconnecting");
});

test("a stream that is late does not claim to be live, and is not read aloud every second", () => {
  const words = describeConnection({ ...LIVE, reason: "late", lateS: 8 });
  assert.deepEqual([words.word, words.spoken, words.look], ["Late by 8 s", "Late", "reconnecting"]);
  assert.doesNotMatch(words.sentence, /the moment/);
  assert.equal(describeMode({ ...LIVE, reason: "late", role: "leader" }, 5_000), "Asking every 5 s, for all tabs of this browser");
});

test("a stream that is held back says why the page polls", () => {
  const held = describeConnection({ ...LIVE, state: "polling", reason: "no-hello" });
  assert.deepEqual([held.word, held.look], ["Polling", "polling"]);
  assert.match(held.sentence, /stays silent, perhaps because of a proxy/);
});

test("the mode says how often the server is asked, and never that it is where nobody asks", () => {
  /** @param {Partial<Status>} status */
  const mode = (status) => describeMode({ ...LIVE, ...status }, 5_000);
  assert.equal(mode({ role: "leader" }), "Live stream, for all tabs of this browser");
  assert.equal(mode({ state: "reconnecting", reason: "lost" }), "Asking once with each attempt");
  assert.equal(mode({ state: "polling", reason: "exhausted", paused: true }), "Asking every 5 s; paused here");
  assert.equal(mode({ state: "offline", reason: "exhausted" }), "Asking every 5 s");
  assert.equal(mode({ state: "offline", reason: "no-network" }), "Asking nobody");
  assert.equal(mode({ state: "offline", reason: "signed-out" }), "Asking nobody");
});
