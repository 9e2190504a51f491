// @ts-check
/** Counts events that could not be shown: two within a minute are shown to the reader as an error. Pure. */

export const FAILURE_WINDOW_MS = 60_000;
const FAILURES_BEFORE_ALARM = 2;

/**
 * @param {readonly number[]} moments  of earlier failures
 * @param {number} now
 * @returns {{ moments: number[], broken: boolean }}
 */
export function recordRenderFailure(moments, now) {
  const recent = [...moments.filter((at) => now - at < FAILURE_WINDOW_MS), now];
  return { moments: recent, broken: recent.length >= FAILURES_BEFORE_ALARM };
}
