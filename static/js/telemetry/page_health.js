// @ts-check
/** Whether a page is past helping itself. Pure. */

const FAILURE_WINDOW_MS = 10_000;
const MAX_FAILURES = 5;

export class PageHealth {
  /** @type {number[]} */
  #failures = [];

  /**
   * One bad swap is repaired by the page itself; what stops its start, or comes again and again, is not.
   * @param {{ where: string, started: boolean, now: number }} failure
   * @returns {boolean} whether the page is dead
   */
  recordFailure({ where, started, now }) {
    if (where === "load" || !started) return true;
    this.#failures = [...this.#failures.filter((at) => now - at < FAILURE_WINDOW_MS), now];
    return this.#failures.length >= MAX_FAILURES;
  }
}
