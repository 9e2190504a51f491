// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { ageAtLastContact, isSilent, isStale, judgeUntil } from "../../../static/js/ui/freshness.js";

const AT = 1_000_000;
const WELL = { state: "connected", heardAt: AT, now: AT + 15_000, heartbeatMs: 15_000, pollMs: 5_000 };

test("a check ages only until Beacon's last answer: silence of Beacon says nothing about the service", () => {
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

test("a region is stale when it is held, when nothing confirms it, or when Beacon is silent", () => {
  const fine = { connection: "connected", held: false, aged: false, unheard: false };
  assert.equal(isStale(fine), false);
  assert.equal(isStale({ ...fine, connection: "polling" }), false);
  for (const change of [{ held: true }, { aged: true }, { unheard: true }, { connection: "offline" }, { connection: "none" }]) {
    assert.equal(isStale({ ...fine, ...change }), true);
  }
});

test("after a gap, services are judged as of before it until the page had time to catch up", () => {
  const awake = { at: AT, gapAt: 0 };
  assert.deepEqual(judgeUntil(awake, AT + 15_000, AT + 15_000, 15_000), { at: AT + 15_000, gapAt: 0 }, "a usual heartbeat");
  const hour = AT + 3_600_000;
  const thawed = judgeUntil(awake, hour, hour, 15_000);
  assert.deepEqual(thawed, { at: AT, gapAt: hour });
  assert.deepEqual(judgeUntil(thawed, hour + 5_000, hour + 5_000, 15_000), thawed);
  assert.deepEqual(judgeUntil(thawed, hour + 10_000, hour + 10_000, 15_000), { at: hour + 10_000, gapAt: 0 });
});
