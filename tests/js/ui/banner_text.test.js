// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseBanner } from "../../../static/js/ui/banner_text.js";
import { recordRenderFailure, FAILURE_WINDOW_MS } from "../../../static/js/telemetry/render_failures.js";
import { describeMode } from "../../../static/js/ui/connection_details.js";
import { describeConnection } from "../../../static/js/ui/connection_text.js";

/** @type {import("../../../static/js/ui/banner_text.js").BannerInput} */
const WELL = { state: "connected", reason: "live", since: "12:03:05", pollMs: 5_000, updated: false, unheardSince: "", person: "" };

/** @param {Partial<import("../../../static/js/ui/banner_text.js").BannerInput>} situation */
const named = (situation) => chooseBanner({ ...WELL, ...situation })?.name ?? null;

test("no banner while all is well, during the five attempts, or for a flag that is off", () => {
  assert.equal(named({}), null);
  assert.equal(named({ state: "reconnecting", reason: "lost" }), null);
  assert.equal(named({ state: "polling", reason: "flag-off" }), null);
});

test("offline beats polling beats the update", () => {
  assert.equal(named({ state: "offline", reason: "exhausted", updated: true }), "offline");
  assert.equal(named({ state: "polling", reason: "exhausted", updated: true }), "polling");
  assert.equal(named({ updated: true }), "updated");
  assert.equal(named({ state: "polling", reason: "flag-off", updated: true }), "updated");
});

test("a page whose login is over says so, and whose browser it is now", () => {
  assert.equal(named({ state: "offline", reason: "signed-out", updated: true }), "signed-out");
  const notice = chooseBanner({ ...WELL, state: "offline", reason: "other-user", person: "bob" });
  assert.match(notice?.text ?? "", /^You are now signed in as bob\./);
  assert.equal(notice?.action, "reload");
});

test("the banner says what, since when and what still works", () => {
  const { text = "", action } = chooseBanner({ ...WELL, state: "polling", reason: "exhausted" }) ?? {};
  assert.match(text, /^Live updates paused since 12:03:05\. .*every 5 s; everything else works\.$/);
  assert.equal(action, "reconnect");
});

test("the banner names a proxy where something holds the stream back", () => {
  const { text = "", name } = chooseBanner({ ...WELL, state: "polling", reason: "no-hello" }) ?? {};
  assert.equal(name, "polling");
  assert.match(text, /^Live updates paused since 12:03:05, perhaps because of a proxy in between\. .*every 5 s; everything else works\.$/);
});

test("a pause is shown only where there is something to pause", () => {
  const quiet = { reason: "live", paused: true, broken: false };
  assert.deepEqual([describeConnection({ ...quiet, state: "connected" }).word, describeConnection({ ...quiet, state: "offline", reason: "no-network" }).word], ["Paused", "Offline"]);
  assert.equal(describeConnection({ ...quiet, state: "connected", broken: true }).word, "Display error");
});

test("the mode says by which way events come", () => {
  assert.equal(describeMode({ state: "connected", role: "follower", paused: false }, 5_000), "Live stream, through another tab");
  assert.equal(describeMode({ state: "polling", role: "alone", paused: true }, 5_000), "Asking every 5 s; paused here");
});

test("one event that cannot be shown is bad luck, two within a minute are an error", () => {
  const first = recordRenderFailure([], 0);
  assert.equal(first.broken, false);
  assert.equal(recordRenderFailure(first.moments, FAILURE_WINDOW_MS - 1).broken, true);
  assert.equal(recordRenderFailure(first.moments, FAILURE_WINDOW_MS).broken, false);
});
