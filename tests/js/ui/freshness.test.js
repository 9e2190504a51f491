// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { ageAtLastContact, isSilent } from "../../../static/js/ui/freshness.js";
import { chooseBanner } from "../../../static/js/ui/banner_text.js";
import { formatDuration } from "../../../static/js/lib/time_text.js";

const AT = 1_000_000;
const WELL = { state: "connected", heardAt: AT, now: AT + 15_000, heartbeatMs: 15_000, pollMs: 5_000 };

test("a check ages only as far as Beacon was heard: what it has not said is no word on the service", () => {
  assert.equal(ageAtLastContact(AT, AT + 20_000), 20_000);
  assert.equal(ageAtLastContact(AT, AT), 0, "an hour later too, as long as nothing was heard");
  assert.equal(ageAtLastContact(AT, AT - 5_000), 0);
});

test("Beacon is silent when a heartbeat, or a poll, is overdue, and at once when the page is offline", () => {
  assert.equal(isSilent(WELL), false);
  assert.equal(isSilent({ ...WELL, now: AT + 20_001 }), true);
  assert.equal(isSilent({ ...WELL, state: "reconnecting", now: AT + 9_000 }), false);
  assert.equal(isSilent({ ...WELL, state: "reconnecting", now: AT + 11_000 }), true);
  assert.equal(isSilent({ ...WELL, state: "polling", pollMs: 60_000, now: AT + 61_000 }), false);
  assert.equal(isSilent({ ...WELL, state: "offline", now: AT + 1 }), true);
});

test("the silence of Beacon is told in no service's words, and no service's colour", () => {
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

test("how long something has gone on", () => {
  assert.equal(formatDuration(125_000), "for 2 min");
});
