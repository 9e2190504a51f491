// @ts-check
/**
 * How late the frames of one stream are. Pure: it gets the time from its caller. Two things tell: a heartbeat that is
 * overdue, and how much longer than the fastest one a heartbeat took, by the server's time in it.
 */

/** Less means nothing: clocks are adjusted, and computers, networks and pages are busy for a moment. */
export const LATE_AFTER_MS = 5_000;
/** The fastest of this many heartbeats tells the server's clock; older ones may be from before it was adjusted. */
const HEARTBEATS_COMPARED = 20;
/** A buffer that is flushed at once ends with a fresh heartbeat, this soon after the late ones. */
const SAME_CHUNK_MS = 500;

export class Lateness {
  #heartbeatMs;
  #dueAt;
  /** @type {number[]} */
  #differences = []; // between this page's clock and the server's, plus what the heartbeat took
  #largestDifference = -Infinity; // of the newest heartbeat and those in the same chunk
  #heardAt = -Infinity;

  /**
   * @param {number} heartbeatMs  as `hello` says
   * @param {number} at  when it came; here and below: milliseconds of a monotonic clock
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
   * @returns {number}  whole seconds; 0 while it is within the usual
   */
  secondsAt(at) {
    const ms = Math.max(at - this.#dueAt, this.#largestDifference - this.#smallestDifference);
    return ms > LATE_AFTER_MS ? Math.round(ms / 1_000) : 0;
  }

  get #smallestDifference() {
    return Math.min(...this.#differences);
  }
}
