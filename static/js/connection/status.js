// @ts-check
/**
 * The state of the connection, in one place: live.js says it (or the tab that holds the stream), everything else listens.
 *
 * @typedef {{ at: number, text: string }} Trouble
 *
 * @typedef {object} Status
 * @property {import("./policy.js").State} state
 * @property {string} reason  a key of the words in connection_text.js
 * @property {number} failures
 * @property {number} lateS  so many seconds late is what comes over the stream
 * @property {number} since  when this state began
 * @property {number | null} nextAttemptAt  when the stream is tried again
 * @property {readonly Trouble[]} errors  the newest last
 * @property {Role} role
 * @property {boolean} paused  this tab holds what comes in
 * @property {boolean} broken  several events could not be shown lately
 *
 * @typedef {"alone" | "leader" | "follower" | "asleep"} Role  how this tab comes by its events
 */

class ConnectionStatus {
  /** @type {Status} */
  #value = {
    state: "reconnecting", reason: "starting", failures: 0, lateS: 0, since: Date.now(), nextAttemptAt: null,
    errors: [], role: "alone", paused: false, broken: false,
  };
  /** @type {Set<(now: Status, before: Status) => void>} */
  #listeners = new Set();

  /** When Beacon said last that all is well, or what has changed. A heartbeat without its database says neither. */
  heardAt = performance.timeOrigin;

  heartbeatMs = 15_000;

  /** When the newest event or heartbeat came; nobody is told of each, whoever shows it looks by the second. */
  /** @type {number | null} */
  lastEventAt = null;

  get value() {
    return this.#value;
  }

  /** @param {Partial<Status>} change */
  set(change) {
    const before = this.#value;
    this.#value = { ...before, ...change };
    for (const listener of this.#listeners) listener(this.#value, before);
  }

  /**
   * Tells `listener` the state now, and every change.
   * @param {(now: Status, before: Status) => void} listener
   * @returns {() => void} ends it
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    listener(this.#value, this.#value);
    return () => this.#listeners.delete(listener);
  }
}

export const connectionStatus = new ConnectionStatus();
