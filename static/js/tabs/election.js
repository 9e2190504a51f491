// @ts-check
/**
 * Which tab of a browser holds the stream, and when another one takes over. Pure. A hidden tab's timers may run once a
 * minute, so a visible tab pings the leader and judges it by its answers.
 */

export const PING_INTERVAL_MS = 400;
export const ANSWER_TIMEOUT_MS = 800;
export const HIDDEN_BEFORE_SLEEP_MS = 60_000;
/** A page that was hidden or asleep for less has missed no timer that matters. */
export const MIN_ABSENCE_MS = 5_000;
const MIN_HIDDEN_ABSENCE_MS = 75_000;
/** A page whose own timer is this late was asleep itself, and must not blame the leader. */
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
 * Decides at each ping of a visible follower whether it takes over.
 * @param {Watch} watch
 * @param {number} now
 * @returns {{ watch: Watch, steal: boolean }}  if it does not steal, it pings again
 */
export function checkLeader(watch, now) {
  const overslept = now - watch.checkedAt > LATE_TIMER_MS;
  const unansweredSince = overslept ? now : (watch.unansweredSince ?? now);
  if (now - unansweredSince >= ANSWER_TIMEOUT_MS) return { watch: startWatch(now), steal: true };
  return { watch: { checkedAt: now, unansweredSince }, steal: false };
}

/**
 * The leader answered. A hidden leader without a stream is replaced: it would retry and poll at a hidden tab's pace.
 * @param {Watch} watch
 * @param {Leader} leader
 * @returns {{ watch: Watch, steal: boolean }}
 */
export function onAnswer(watch, leader) {
  return { watch: { ...watch, unansweredSince: null }, steal: !leader.visible && leader.state !== "connected" };
}

/**
 * Whether something is missing between what this tab has received and a frame that the leader broadcast.
 * @param {number} received
 * @param {number} after  the id that the leader broadcast before it
 */
export function isGap(received, after) {
  return after > received;
}

/**
 * Each leader's term is higher than any known one, even if the clock was set back; followers ignore lower terms.
 * @param {number} known
 * @param {number} now
 */
export function nextTerm(known, now) {
  return Math.max(now, known + 1);
}

/**
 * Whether the time between two ticks of a one-second timer means that the computer slept. Hidden tabs tick once a minute.
 * @param {number} ms
 * @param {boolean} visible
 */
export function computerSlept(ms, visible) {
  return ms > (visible ? MIN_ABSENCE_MS : MIN_HIDDEN_ABSENCE_MS);
}

/**
 * Lock and channel are named by login session and build, so tabs of another user or version never share a stream.
 * @param {string} session
 * @param {string} build
 */
export function channelName(session, build) {
  return `beacon ${session} ${build}`;
}
