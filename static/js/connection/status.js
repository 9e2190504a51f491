// @ts-check
/**
 * The state of the connection, in one place: live.js sets it, or the tab that holds the stream; everything else subscribes.
 *
 * @typedef {{ at: number, text: string }} Trouble
 *
 * @typedef {object} Status
 * @property {import("./policy.js").State} state
 * @property {string} reason  a key of the sentences in connection_text.js
 * @property {number} failures
 * @property {number} lateS  how many seconds late the stream is
 * @property {number} since  when this state began
 * @property {number | null} nextAttemptAt  when the next stream is opened
 * @property {readonly Trouble[]} errors  the newest last
 * @property {Role} role
 * @property {boolean} paused  this tab holds its frames
 * @property {boolean} broken  several events could not be shown recently
 *
 * @typedef {"alone" | "leader" | "follower" | "asleep"} Role  how this tab gets its events
 */

class ConnectionStatus {
  /** @type {Status} */
  #value = {
    state: "reconnecting", reason: "starting", failures: 0, lateS: 0, since: Date.now(), nextAttemptAt: null,
    errors: [], role: "alone", paused: false, broken: false,
  };
  /** @type {Set<(now: Status, before: Status) => void>} */
  #listeners = new Set();

  /** When Beacon was last known to be up to date; a heartbeat sent while its database is away does not count. */
  heardAt = performance.timeOrigin;

  heartbeatMs = 15_000;

  /** When the newest event or heartbeat arrived. Listeners are not told of each; what shows it reads it every second. */
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
   * Calls `listener` with the state now, and with every change.
   * @param {(now: Status, before: Status) => void} listener
   * @returns {() => void} unsubscribes
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    listener(this.#value, this.#value);
    return () => this.#listeners.delete(listener);
  }
}

export const connectionStatus = new ConnectionStatus();
