// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { ANSWER_WITHIN_MS, answered, hasSlept, isGap, look, newWatch, nextTerm, PING_EVERY_MS, shareName } from "../../../static/js/tabs/election.js";

/** Looks at every ping's time from `from` on, until the lock is stolen. @param {number} from @param {number} until */
function stolenAt(from, until) {
  let watch = newWatch(from);
  for (let now = from; now <= until; now += PING_EVERY_MS) {
    const judged = look(watch, now);
    if (judged.steal) return now;
    watch = judged.watch;
  }
  return null;
}

test("a leader that never answers loses the lock within two seconds, and not before it had its time", () => {
  const at = stolenAt(0, 10_000) ?? Infinity;
  assert.ok(at >= ANSWER_WITHIN_MS && at + PING_EVERY_MS <= 2_000, String(at));
});

test("a leader that answers each time keeps the lock", () => {
  let watch = newWatch(0);
  for (let now = 0; now < 60_000; now += PING_EVERY_MS) {
    const judged = look(watch, now);
    assert.equal(judged.steal, false);
    watch = answered(judged.watch, { visible: false, state: "connected" }).watch;
  }
});

test("a tab that slept itself does not blame the leader", () => {
  const { watch } = look(newWatch(0), 500);
  const woke = look(watch, 3_600_000);
  assert.equal(woke.steal, false);
  assert.equal(look(woke.watch, 3_600_000 + PING_EVERY_MS).steal, false);
});

test("a leader out of sight is replaced only while it has no stream", () => {
  const watch = newWatch(0);
  for (const state of /** @type {const} */ (["reconnecting", "polling", "offline"])) {
    assert.equal(answered(watch, { visible: false, state }).steal, true);
    assert.equal(answered(watch, { visible: true, state }).steal, false);
  }
  assert.equal(answered(watch, { visible: false, state: "connected" }).steal, false);
});

test("a frame follows if this tab has what went before it, and more is no harm", () => {
  assert.deepEqual([isGap(10, 10), isGap(12, 10), isGap(9, 10)], [false, false, true]);
});

test("another login and another build share nothing", () => {
  const names = [shareName("a", "1"), shareName("b", "1"), shareName("a", "2")];
  assert.equal(new Set(names).size, 3);
});

test("a term is later than every one before, even where the clock was set back", () => {
  assert.deepEqual([nextTerm(0, 5_000), nextTerm(5_000, 9_000), nextTerm(9_000, 4_000)], [5_000, 9_000, 9_001]);
});

test("a computer slept when a tick is late, and a hidden tab's tick of a minute is not late", () => {
  assert.deepEqual([hasSlept(1_100, true), hasSlept(6_000, true)], [false, true]);
  assert.deepEqual([hasSlept(61_000, false), hasSlept(120_000, false)], [false, true]);
});
