// @ts-check
/** Events that could not be shown: one is bad luck, two within a minute are an error that people should know of. Pure. */

export const FAILURE_WINDOW_MS = 60_000;
const FAILURES_BEFORE_ALARM = 2;

/**
 * @param {readonly number[]} moments  of the failures before
 * @param {number} now
 * @returns {{ moments: number[], broken: boolean }}
 */
export function recordRenderFailure(moments, now) {
  const recent = [...moments.filter((at) => now - at < FAILURE_WINDOW_MS), now];
  return { moments: recent, broken: recent.length >= FAILURES_BEFORE_ALARM };
}
