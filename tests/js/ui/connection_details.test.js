// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeMode } from "../../../static/js/ui/connection_details.js";

/** @typedef {import("../../../static/js/connection/status.js").Status} Status */

/** @type {Status} */
const LIVE = {
  state: "connected", reason: "live", failures: 0, lateS: 0, since: 0, nextAttemptAt: null, errors: [], role: "alone", paused: false, broken: false,
};

test("the mode says how events arrive", () => {
  assert.equal(describeMode({ state: "connected", role: "follower", paused: false }, 5_000), "Live stream, through another tab");
  assert.equal(describeMode({ state: "polling", role: "alone", paused: true }, 5_000), "Asking every 5 s; paused here");
});

test("the mode says how often the page polls, and that it does not when it does not", () => {
  /** @param {Partial<Status>} status */
  const mode = (status) => describeMode({ ...LIVE, ...status }, 5_000);
  assert.equal(mode({ role: "leader" }), "Live stream, for all tabs of this browser");
  assert.equal(mode({ reason: "late", role: "leader" }), "Asking every 5 s, for all tabs of this browser");
  assert.equal(mode({ state: "reconnecting", reason: "lost" }), "Asking once with each attempt");
  assert.equal(mode({ state: "polling", reason: "exhausted", paused: true }), "Asking every 5 s; paused here");
  assert.equal(mode({ state: "offline", reason: "exhausted" }), "Asking every 5 s");
  assert.equal(mode({ state: "offline", reason: "no-network" }), "Asking nobody");
  assert.equal(mode({ state: "offline", reason: "signed-out" }), "Asking nobody");
});
