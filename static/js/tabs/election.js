// @ts-check
/**
 * Which tab of a browser holds the stream, and when another one takes it over. Pure. A hidden tab's timers may run once a
 * minute, so it is always a visible tab that asks: a leader is judged by its answers, never by its own promises.
 */

export const PING_INTERVAL_MS = 400;
export const ANSWER_TIMEOUT_MS = 800;
export const HIDDEN_BEFORE_SLEEP_MS = 60_000;
/** A page that was out of sight, or whose computer slept, for less has missed no timer that matters. */
export const MIN_ABSENCE_MS = 5_000;
const MIN_HIDDEN_ABSENCE_MS = 75_000;
/** A page that lets its own timer wait for so long slept itself, and must not blame the leader. */
const LATE_TIMER_MS = 1_500;

/**
 * @typedef {object} Watch
 * @property {number} checkedAt
 * @property {number | null} unansweredSince  the first ping that the leader has not answered
 *
 * @typedef {{ visible: boolean, state: import("../connection/policy.js").State }} Leader  as it last answered
 */

/** @returns {Watch} */
export function startWatch(now = 0) {
  return { checkedAt: now, unansweredSince: null };
}

/**
 * What a visible follower does at each look.
 * @param {Watch} watch
 * @param {number} now
 * @returns {{ watch: Watch, steal: boolean }}  without stealing, the leader is asked again
 */
export function checkLeader(watch, now) {
  const overslept = now - watch.checkedAt > LATE_TIMER_MS;
  const unansweredSince = overslept ? now : (watch.unansweredSince ?? now);
  if (now - unansweredSince >= ANSWER_TIMEOUT_MS) return { watch: startWatch(now), steal: true };
  return { watch: { checkedAt: now, unansweredSince }, steal: false };
}

/**
 * The leader answered. One that is out of sight and has no stream would retry and poll at the pace of a hidden tab.
 * @param {Watch} watch
 * @param {Leader} leader
 * @returns {{ watch: Watch, steal: boolean }}
 */
export function onAnswer(watch, leader) {
  return { watch: { ...watch, unansweredSince: null }, steal: !leader.visible && leader.state !== "connected" };
}

/**
 * Whether a frame that another tab passed on follows what this one has, or something in between is missing.
 * @param {number} received
 * @param {number} after  the id that the leader passed on before
 */
export function isGap(received, after) {
  return after > received;
}

/**
 * Each leader's term is later than any that was heard of, even where the computer's clock was set back: followers take
 * nothing from an earlier one.
 * @param {number} known
 * @param {number} now
 */
export function nextTerm(known, now) {
  return Math.max(now, known + 1);
}

/**
 * Whether the time between two ticks of a second says that the computer slept. Hidden tabs tick once a minute.
 * @param {number} ms
 * @param {boolean} visible
 */
export function computerSlept(ms, visible) {
  return ms > (visible ? MIN_ABSENCE_MS : MIN_HIDDEN_ABSENCE_MS);
}

/**
 * Lock and channel are named by login and build: neither another user's tab nor another version's ever shares.
 * @param {string} session
 * @param {string} build
 */
export function channelName(session, build) {
  return `beacon ${session} ${build}`;
}
