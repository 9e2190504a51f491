// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { ANSWER_TIMEOUT_MS, onAnswer, computerSlept, isGap, checkLeader, startWatch, nextTerm, PING_INTERVAL_MS, channelName } from "../../../static/js/tabs/election.js";

/** Looks at every ping's time from `from` on, until the lock is stolen. @param {number} from @param {number} until */
function stolenAt(from, until) {
  let watch = startWatch(from);
  for (let now = from; now <= until; now += PING_INTERVAL_MS) {
    const judged = checkLeader(watch, now);
    if (judged.steal) return now;
    watch = judged.watch;
  }
  return null;
}

test("a leader that never answers loses the lock within two seconds, but not too early", () => {
  const at = stolenAt(0, 10_000) ?? Infinity;
  assert.ok(at >= ANSWER_TIMEOUT_MS && at + PING_INTERVAL_MS <= 2_000, String(at));
});

test("a leader that answers each time keeps the lock", () => {
  let watch = startWatch(0);
  for (let now = 0; now < 60_000; now += PING_INTERVAL_MS) {
    const judged = checkLeader(watch, now);
    assert.equal(judged.steal, false);
    watch = onAnswer(judged.watch, { visible: false, state: "connected" }).watch;
  }
});

test("a tab that was asleep does not blame the leader", () => {
  const { watch } = checkLeader(startWatch(0), 500);
  const woke = checkLeader(watch, 3_600_000);
  assert.equal(woke.steal, false);
  assert.equal(checkLeader(woke.watch, 3_600_000 + PING_INTERVAL_MS).steal, false);
});

test("a hidden leader is replaced only while it has no stream", () => {
  const watch = startWatch(0);
  for (const state of /** @type {const} */ (["reconnecting", "polling", "offline"])) {
    assert.equal(onAnswer(watch, { visible: false, state }).steal, true);
    assert.equal(onAnswer(watch, { visible: true, state }).steal, false);
  }
  assert.equal(onAnswer(watch, { visible: false, state: "connected" }).steal, false);
});

test("a frame follows if this tab has everything before it, or more", () => {
  assert.deepEqual([isGap(10, 10), isGap(12, 10), isGap(9, 10)], [false, false, true]);
});

test("tabs of another login or build share nothing", () => {
  const names = [channelName("a", "1"), channelName("b", "1"), channelName("a", "2")];
  assert.equal(new Set(names).size, 3);
});

test("a term is higher than every one before, even if the clock was set back", () => {
  assert.deepEqual([nextTerm(0, 5_000), nextTerm(5_000, 9_000), nextTerm(9_000, 4_000)], [5_000, 9_000, 9_001]);
});

test("a late tick means that the computer slept, except for a hidden tab's tick of a minute", () => {
  assert.deepEqual([computerSlept(1_100, true), computerSlept(6_000, true)], [false, true]);
  assert.deepEqual([computerSlept(61_000, false), computerSlept(120_000, false)], [false, true]);
});
