// @ts-check
/**
 * What this page reports about its connection: counts since the last report, and samples of times. Pure: events and times
 * come from its caller. In the streaming cohort an attempt is a stream, in the polling cohort a poll; figures of one cohort
 * are never reported for the other.
 *
 * @typedef {import("../connection/policy.js").ConnectionEvent} ConnectionEvent
 * @typedef {import("../connection/policy.js").Model} Model
 *
 * @typedef {object} Report  times in whole milliseconds
 * @property {"streaming" | "polling"} cohort
 * @property {number} attempts  with a known outcome
 * @property {number} failures  among the attempts
 * @property {number} fallbacks  how often the page gave up streaming and polls, or is offline
 * @property {number} reconnects  how often a working stream ended and another one is opened
 * @property {number[]} helloMs
 * @property {number[]} lagMs  from an event's own time to its arrival
 */

export const MAX_SAMPLES = 100;
/** The time of a change is in its row; what people wrote comes after it or is escaped. */
const EVENT_TIME = /<td class="at"><time datetime="([^"]+)"/;
/** The fastest of this many heartbeats tells the server's clock; older ones may be from before it was adjusted. */
const HEARTBEATS_COMPARED = 20;
/** A page that missed more polls than this was asleep or offline, so delays in that time are not measured. */
const MAX_MISSED_POLLS = 2;

export class ConnectionStats {
  /** @type {Report} */
  #report = emptyReport("streaming");
  #random;
  #lagCount = 0;
  /** @type {number | undefined} */
  #pageClockOffset; // the server's clock minus this page's, as known when the page was loaded
  /** @type {number[]} */
  #clockOffsets = [];
  /** @type {{ at: number, helloReceived: boolean, counted: boolean } | null} */
  #attempt = null;
  /** Only events with a higher id were written while the page was listening. */
  #liveAfter = Infinity;
  #polledAt = -Infinity;
  #pollMs = 0;
  #reachable = true;

  /** @param {() => number} [random]  from 0 to 1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** @param {number} at  here and below: milliseconds of a monotonic clock */
  streamOpening(at) {
    this.#finishAttempt();
    this.#attempt = { at, helloReceived: false, counted: false };
  }

  /**
   * @param {ConnectionEvent} event
   * @param {Model} before
   * @param {Model} after
   * @param {number} at
   */
  onConnectionEvent(event, before, after, at) {
    this.#switchCohort(after.streamAllowed ? "streaming" : "polling");
    this.#pollMs = after.pollMs;
    this.#reachable = after.state !== "offline" && !after.pollFailed;
    if (event.kind === "hello") this.#onHello(at);
    else if (event.kind === "proof" || event.kind === "heartbeat") this.#countSuccess();
    else if (event.kind === "polled" || event.kind === "poll-failed") this.#countPoll(event.kind === "polled", at);
    else if (event.kind === "woke") this.#liveAfter = Infinity; // what comes now was waiting for this page
    else if (event.kind !== "start") this.#onStreamEnd(before, after);
  }

  /**
   * Every frame of the stream or of a poll. Lags are computed when they are reported, because the clock of a page that loaded
   * slowly is off until the first heartbeat.
   * @param {import("../connection/sse.js").Frame} frame
   * @param {number} serverNow  milliseconds since 1970 by the server's clock, as the page knows it
   * @param {number} at
   */
  onFrame(frame, serverNow, at) {
    this.#pageClockOffset ??= serverNow - at;
    if (frame.event === "heartbeat") this.#clockOffsets = [Date.parse(JSON.parse(frame.data).timestamp) - at, ...this.#clockOffsets].slice(0, HEARTBEATS_COMPARED);
    if (frame.event === "hello" || (frame.event === "heartbeat" && this.#liveAfter === Infinity)) {
      this.#liveAfter = JSON.parse(frame.data).head;
    }
    if (frame.event !== "" || !this.#wasLive(frame, at)) return;
    const since = at - Date.parse(EVENT_TIME.exec(frame.data)?.[1] ?? "");
    if (Number.isFinite(since)) this.#addLag(since);
  }

  /** Another tab is the leader, or the page is hidden. */
  stop() {
    this.#finishAttempt();
    this.#polledAt = -Infinity;
  }

  /** @returns {Report | null}  since the last one; null if it is empty, or the server cannot be reached */
  takeReport() {
    const { attempts, failures, fallbacks, reconnects, helloMs, lagMs, cohort } = this.#report;
    if (!this.#reachable || attempts + failures + fallbacks + reconnects + helloMs.length + lagMs.length === 0) return null;
    // Nothing arrives before it was sent, so the largest offset is the most accurate.
    const clock = Math.max(this.#pageClockOffset ?? 0, ...this.#clockOffsets);
    const taken = { ...this.#report, lagMs: lagMs.map((since) => Math.max(0, Math.round(since + clock))) };
    this.#startReport(cohort);
    return taken;
  }

  /** @param {Report["cohort"]} cohort */
  #switchCohort(cohort) {
    if (cohort !== this.#report.cohort) this.#startReport(cohort);
  }

  /** @param {Report["cohort"]} cohort */
  #startReport(cohort) {
    this.#report = emptyReport(cohort);
    this.#lagCount = 0;
  }

  /** @param {number} at */
  #onHello(at) {
    if (!this.#attempt) return;
    this.#attempt.helloReceived = true;
    if (this.#report.helloMs.length < MAX_SAMPLES) this.#report.helloMs.push(Math.round(at - this.#attempt.at));
  }

  /** Only an event or a heartbeat proves that a stream works, neither its answer nor `hello`. */
  #countSuccess() {
    if (!this.#attempt || this.#attempt.counted) return;
    this.#attempt.counted = true;
    this.#report.attempts += 1;
  }

  /**
   * @param {boolean} worked
   * @param {number} at
   */
  #countPoll(worked, at) {
    if (worked) this.#polledAt = at;
    if (this.#report.cohort === "streaming") return;
    this.#report.attempts += 1;
    if (!worked) this.#report.failures += 1;
  }

  /**
   * The attempt is over, unless nothing changed: it failed, got a goodbye, or was closed on purpose.
   * @param {Model} before
   * @param {Model} after
   */
  #onStreamEnd(before, after) {
    if (after === before || after.state === "connected") return;
    const failed = after.failures > before.failures;
    const worked = this.#attempt?.counted ?? false;
    if (failed && !worked) {
      this.#attempt = null;
      this.#report.attempts += 1;
      this.#report.failures += 1;
    }
    if (before.state === "connected" && after.state === "reconnecting" && (worked || !failed)) this.#report.reconnects += 1;
    if (failed && isStreaming(before) && !isStreaming(after)) this.#report.fallbacks += 1;
    this.#finishAttempt();
  }

  /** A stream that said hello and was closed before it delivered anything did open. */
  #finishAttempt() {
    if (this.#attempt?.helloReceived && this.#report.cohort === "streaming") this.#countSuccess();
    this.#attempt = null;
    this.#liveAfter = Infinity;
  }

  /**
   * @param {import("../connection/sse.js").Frame} frame
   * @param {number} at
   */
  #wasLive(frame, at) {
    if (this.#attempt?.helloReceived) return Number(frame.id) > this.#liveAfter;
    return this.#report.cohort === "polling" && at - this.#polledAt < MAX_MISSED_POLLS * this.#pollMs + 2_000;
  }

  /**
   * Reservoir sampling: every lag has the same chance to be reported.
   * @param {number} since  from an event's time to its arrival, each by its own clock
   */
  #addLag(since) {
    this.#lagCount += 1;
    const place = this.#lagCount <= MAX_SAMPLES ? this.#lagCount - 1 : Math.floor(this.#random() * this.#lagCount);
    if (place < MAX_SAMPLES) this.#report.lagMs[place] = since;
  }
}

/** @param {Model} model */
function isStreaming({ state }) {
  return state === "connected" || state === "reconnecting";
}

/**
 * @param {Report["cohort"]} cohort
 * @returns {Report}
 */
function emptyReport(cohort) {
  return { cohort, attempts: 0, failures: 0, fallbacks: 0, reconnects: 0, helloMs: [], lagMs: [] };
}
