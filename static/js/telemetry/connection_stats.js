// @ts-check
/**
 * What this page reports of its own connection: counts since the last report and samples of times. Pure: it is told what
 * happens and looks at no clock. In the streaming cohort an attempt is a stream that was asked for, in the polling cohort
 * a poll; what was measured in one cohort is never told as the other's.
 *
 * @typedef {import("../connection/policy.js").ConnectionEvent} ConnectionEvent
 * @typedef {import("../connection/policy.js").Model} Model
 *
 * @typedef {object} Report  times in whole milliseconds
 * @property {"streaming" | "polling"} cohort
 * @property {number} attempts  whose outcome is known
 * @property {number} failures  of them
 * @property {number} fallbacks  the page gave the stream up and polls, or is offline
 * @property {number} reconnects  a stream that had worked ended, and another one is opened
 * @property {number[]} helloMs
 * @property {number[]} lagMs  from an event's own time to its arrival
 */

export const MAX_SAMPLES = 100;
/** The time of a change stands in its row, and everything that people wrote comes behind it or is escaped. */
const EVENT_TIME = /<td class="at"><time datetime="([^"]+)"/;
/** Of so many heartbeats the least delayed one says what the server's clock is; older ones know of no step of it. */
const HEARTBEATS_COMPARED = 20;
/** Whoever polls later than that slept or lost the network: what came meanwhile says nothing of delivery. */
const MAX_MISSED_POLLS = 2;

export class ConnectionStats {
  /** @type {Report} */
  #report = emptyReport("streaming");
  #random;
  #lagCount = 0;
  /** @type {number | undefined} */
  #pageClockOffset; // the server's, less that of this page, as the page was told when it was loaded
  /** @type {number[]} */
  #clockOffsets = [];
  /** @type {{ at: number, helloReceived: boolean, counted: boolean } | null} */
  #attempt = null;
  /** Only an event after this one was written while the page listened. */
  #liveAfter = Infinity;
  #polledAt = -Infinity;
  #pollMs = 0;
  #reachable = true;

  /** @param {() => number} [random]  from 0 to 1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** @param {number} at  here and below: milliseconds of a clock that is never set */
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
    else if (event.kind === "woke") this.#liveAfter = Infinity; // what comes now waited for this page
    else if (event.kind !== "start") this.#onStreamEnd(before, after);
  }

  /**
   * Every frame of the stream or of a poll. A lag is known when it is told: a page that was loaded slowly has too late a
   * clock until the first heartbeat.
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

  /** Another tab owns the wire, or nobody looks. */
  stop() {
    this.#finishAttempt();
    this.#polledAt = -Infinity;
  }

  /** @returns {Report | null}  since the last one; null where there is nothing to tell, or nobody can be told */
  takeReport() {
    const { attempts, failures, fallbacks, reconnects, helloMs, lagMs, cohort } = this.#report;
    if (!this.#reachable || attempts + failures + fallbacks + reconnects + helloMs.length + lagMs.length === 0) return null;
    // No word of the server comes before it was said: the largest difference is the nearest.
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

  /** Neither an answer nor `hello` proves that a stream works: what comes through it does. */
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
   * The attempt is over, unless this changed nothing: failed, with a goodbye, or let go on purpose.
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

  /** A stream that said hello and was given up before it brought anything has opened, all the same. */
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
   * Each of them all has the same chance to be among those that are told.
   * @param {number} since  from an event's own time to its arrival, each by its own clock
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
