// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseBanner } from "../../../static/js/ui/banner_text.js";

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

test("a page whose login has ended says so, and who is logged in now", () => {
  assert.equal(named({ state: "offline", reason: "signed-out", updated: true }), "signed-out");
  const notice = chooseBanner({ ...WELL, state: "offline", reason: "other-user", person: "bob" });
  assert.match(notice?.text ?? "", /^Now signed in as bob\. .*reload it\.$/);
  assert.equal(notice?.action, "reload");
});

test("the banner says what, since when and what still works", () => {
  const { text = "", action } = chooseBanner({ ...WELL, state: "polling", reason: "exhausted" }) ?? {};
  assert.match(text, /^Live updates paused since 12:03:05\. .*every 5 s; everything else works\.$/);
  assert.equal(action, "reconnect");
});

test("the banner mentions a proxy if something buffers the stream", () => {
  const { text = "", name } = chooseBanner({ ...WELL, state: "polling", reason: "no-hello" }) ?? {};
  assert.equal(name, "polling");
  assert.match(text, /^Live updates paused since 12:03:05, perhaps because of a proxy in between\. .*every 5 s; everything else works\.$/);
});

test("the silence of Beacon has other words and another colour than a stale service", () => {
  for (const situation of [
    { state: /** @type {const} */ ("connected"), reason: "live", unheardSince: "12:03:05" },
    { state: /** @type {const} */ ("offline"), reason: "exhausted", unheardSince: "" },
    { state: /** @type {const} */ ("offline"), reason: "signed-out", unheardSince: "" },
  ]) {
    const notice = chooseBanner({ since: "12:03:05", pollMs: 5_000, updated: false, person: "", ...situation });
    assert.match(notice?.text ?? "", /since 12:03:05/);
    assert.doesNotMatch(notice?.text ?? "", /stale|discrepancy|verified|wrong/i);
    assert.equal(notice?.look, "offline");
  }
});
