// @ts-check
/** Whether a page is past helping itself. Pure. */

const WINDOW_MS = 10_000;
const TOO_MANY = 5;

export class Vitals {
  /** @type {number[]} */
  #failures = [];

  /**
   * One bad swap is repaired by the page itself; what stops its start, or comes again and again, is not.
   * @param {{ where: string, started: boolean, now: number }} failure
   * @returns {boolean} whether the page is dead
   */
  failed({ where, started, now }) {
    if (where === "load" || !started) return true;
    this.#failures = [...this.#failures.filter((at) => now - at < WINDOW_MS), now];
    return this.#failures.length >= TOO_MANY;
  }
}
