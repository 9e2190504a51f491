// @ts-check
/** Decides whether a page can no longer recover by itself. Pure. */

const FAILURE_WINDOW_MS = 10_000;
const MAX_FAILURES = 5;

export class PageHealth {
  /** @type {number[]} */
  #failures = [];

  /**
   * The page recovers from one bad swap by itself, but not from a failure at its start, or from many failures.
   * @param {{ where: string, started: boolean, now: number }} failure
   * @returns {boolean} whether the page is dead
   */
  recordFailure({ where, started, now }) {
    if (where === "load" || !started) return true;
    this.#failures = [...this.#failures.filter((at) => now - at < FAILURE_WINDOW_MS), now];
    return this.#failures.length >= MAX_FAILURES;
  }
}
