// @ts-check
/**
 * How late the frames of one stream come. Pure: it is told what comes and looks at no clock. Two things tell: a heartbeat
 * that is due and not there, and how much longer than the promptest one a heartbeat took, by the server's time in it.
 */

/** Less says nothing: clocks are set, and computers, networks and pages are busy for a moment. */
export const LATE_AFTER_MS = 5_000;
/** The promptest of so many heartbeats says what the server's clock is; older ones know of no step of it. */
const HEARTBEATS_COMPARED = 20;
/** What is held back and let go in one piece ends with a prompt heartbeat, which comes so soon after the late ones. */
const SAME_CHUNK_MS = 500;

export class Lateness {
  #heartbeatMs;
  #dueAt;
  /** @type {number[]} */
  #differences = []; // between this page's clock and the server's, each with what its heartbeat took
  #largestDifference = -Infinity; // of the newest heartbeat and those that came in one piece with it
  #heardAt = -Infinity;

  /**
   * @param {number} heartbeatMs  as `hello` says
   * @param {number} at  when it came; here and below: milliseconds of a clock that is never set
   */
  constructor(heartbeatMs, at) {
    this.#heartbeatMs = heartbeatMs;
    this.#dueAt = at + heartbeatMs;
  }

  /**
   * @param {number} sentAt  milliseconds since 1970 by the server's clock
   * @param {number} at
   */
  heartbeat(sentAt, at) {
    if (!Number.isFinite(sentAt)) return;
    const difference = at - sentAt;
    this.#differences = [...this.#differences, difference].slice(-HEARTBEATS_COMPARED);
    const together = at - this.#heardAt <= Math.min(SAME_CHUNK_MS, this.#heartbeatMs / 2);
    this.#largestDifference = together ? Math.max(this.#largestDifference, difference) : difference;
    this.#heardAt = at;
    this.#dueAt = sentAt + this.#smallestDifference + this.#heartbeatMs;
  }

  /**
   * @param {number} at
   * @returns {number}  whole seconds; 0 while it is no more than usual
   */
  secondsAt(at) {
    const ms = Math.max(at - this.#dueAt, this.#largestDifference - this.#smallestDifference);
    return ms > LATE_AFTER_MS ? Math.round(ms / 1_000) : 0;
  }

  get #smallestDifference() {
    return Math.min(...this.#differences);
  }
}
