// @ts-check
/**
 * What this page reports of its own connection: counts since the last report and samples of times. Pure: it is told what
 * happens and looks at no clock. In the streaming cohort an attempt is a stream that was asked for, in the polling cohort
 * a poll; what was measured in one cohort is never told as the other's.
 *
 * @typedef {import("../connection/policy.js").Happening} Happening
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
const OWN_TIME = /<td class="at"><time datetime="([^"]+)"/;
/** Of so many heartbeats the least delayed one says what the server's clock is; older ones know of no step of it. */
const CLOCKS = 20;
/** Whoever polls later than that slept or lost the network: what came meanwhile says nothing of delivery. */
const LATE_POLLS = 2;

export class Measure {
  /** @type {Report} */
  #now = none("streaming");
  #random;
  #lags = 0;
  /** @type {number | undefined} */
  #pageClock; // the server's, less that of this page, as the page was told when it was loaded
  /** @type {number[]} */
  #clocks = [];
  /** @type {{ at: number, greeted: boolean, proved: boolean } | null} */
  #attempt = null;
  /** Only an event after this one was written while the page listened. */
  #listensAfter = Infinity;
  #polledAt = -Infinity;
  #pollMs = 0;
  #reachable = true;

  /** @param {() => number} [random]  from 0 to 1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** @param {number} at  here and below: milliseconds of a clock that is never set */
  opening(at) {
    this.#settle();
    this.#attempt = { at, greeted: false, proved: false };
  }

  /**
   * @param {Happening} happening
   * @param {Model} before
   * @param {Model} after
   * @param {number} at
   */
  happened(happening, before, after, at) {
    this.#belong(after.streamAllowed ? "streaming" : "polling");
    this.#pollMs = after.pollMs;
    this.#reachable = after.state !== "offline" && !after.pollFailed;
    if (happening.kind === "hello") this.#greeted(at);
    else if (happening.kind === "proof" || happening.kind === "heartbeat") this.#proved();
    else if (happening.kind === "polled" || happening.kind === "poll-failed") this.#polled(happening.kind === "polled", at);
    else if (happening.kind === "woke") this.#listensAfter = Infinity; // what comes now waited for this page
    else if (happening.kind !== "start") this.#ended(before, after);
  }

  /**
   * Every frame of the stream or of a poll. A lag is known when it is told: a page that was loaded slowly has too late a
   * clock until the first heartbeat.
   * @param {import("../connection/sse.js").Frame} frame
   * @param {number} serverNow  milliseconds since 1970 by the server's clock, as the page knows it
   * @param {number} at
   */
  heard(frame, serverNow, at) {
    this.#pageClock ??= serverNow - at;
    if (frame.event === "heartbeat") this.#clocks = [Date.parse(JSON.parse(frame.data).timestamp) - at, ...this.#clocks].slice(0, CLOCKS);
    if (frame.event === "hello" || (frame.event === "heartbeat" && this.#listensAfter === Infinity)) {
      this.#listensAfter = JSON.parse(frame.data).head;
    }
    if (frame.event !== "" || !this.#isListening(frame, at)) return;
    const since = at - Date.parse(OWN_TIME.exec(frame.data)?.[1] ?? "");
    if (Number.isFinite(since)) this.#sample(since);
  }

  /** Another tab owns the wire, or nobody looks. */
  letGo() {
    this.#settle();
    this.#polledAt = -Infinity;
  }

  /** @returns {Report | null}  since the last one; null where there is nothing to tell, or nobody can be told */
  take() {
    const { attempts, failures, fallbacks, reconnects, helloMs, lagMs, cohort } = this.#now;
    if (!this.#reachable || attempts + failures + fallbacks + reconnects + helloMs.length + lagMs.length === 0) return null;
    // No word of the server comes before it was said: the largest difference is the nearest.
    const clock = Math.max(this.#pageClock ?? 0, ...this.#clocks);
    const taken = { ...this.#now, lagMs: lagMs.map((since) => Math.max(0, Math.round(since + clock))) };
    this.#begin(cohort);
    return taken;
  }

  /** @param {Report["cohort"]} cohort */
  #belong(cohort) {
    if (cohort !== this.#now.cohort) this.#begin(cohort);
  }

  /** @param {Report["cohort"]} cohort */
  #begin(cohort) {
    this.#now = none(cohort);
    this.#lags = 0;
  }

  /** @param {number} at */
  #greeted(at) {
    if (!this.#attempt) return;
    this.#attempt.greeted = true;
    if (this.#now.helloMs.length < MAX_SAMPLES) this.#now.helloMs.push(Math.round(at - this.#attempt.at));
  }

  /** Neither an answer nor `hello` proves that a stream works: what comes through it does. */
  #proved() {
    if (!this.#attempt || this.#attempt.proved) return;
    this.#attempt.proved = true;
    this.#now.attempts += 1;
  }

  /**
   * @param {boolean} worked
   * @param {number} at
   */
  #polled(worked, at) {
    if (worked) this.#polledAt = at;
    if (this.#now.cohort === "streaming") return;
    this.#now.attempts += 1;
    if (!worked) this.#now.failures += 1;
  }

  /**
   * The attempt is over, unless this changed nothing: failed, with a goodbye, or let go on purpose.
   * @param {Model} before
   * @param {Model} after
   */
  #ended(before, after) {
    if (after === before || after.state === "connected") return;
    const failed = after.failures > before.failures;
    const worked = this.#attempt?.proved ?? false;
    if (failed && !worked) {
      this.#attempt = null;
      this.#now.attempts += 1;
      this.#now.failures += 1;
    }
    if (before.state === "connected" && after.state === "reconnecting" && (worked || !failed)) this.#now.reconnects += 1;
    if (failed && isTrying(before) && !isTrying(after)) this.#now.fallbacks += 1;
    this.#settle();
  }

  /** A stream that said hello and was given up before it brought anything has opened, all the same. */
  #settle() {
    if (this.#attempt?.greeted && this.#now.cohort === "streaming") this.#proved();
    this.#attempt = null;
    this.#listensAfter = Infinity;
  }

  /**
   * @param {import("../connection/sse.js").Frame} frame
   * @param {number} at
   */
  #isListening(frame, at) {
    if (this.#attempt?.greeted) return Number(frame.id) > this.#listensAfter;
    return this.#now.cohort === "polling" && at - this.#polledAt < LATE_POLLS * this.#pollMs + 2_000;
  }

  /**
   * Each of them all has the same chance to be among those that are told.
   * @param {number} since  from an event's own time to its arrival, each by its own clock
   */
  #sample(since) {
    this.#lags += 1;
    const place = this.#lags <= MAX_SAMPLES ? this.#lags - 1 : Math.floor(this.#random() * this.#lags);
    if (place < MAX_SAMPLES) this.#now.lagMs[place] = since;
  }
}

/** @param {Model} model */
function isTrying({ state }) {
  return state === "connected" || state === "reconnecting";
}

/**
 * @param {Report["cohort"]} cohort
 * @returns {Report}
 */
function none(cohort) {
  return { cohort, attempts: 0, failures: 0, fallbacks: 0, reconnects: 0, helloMs: [], lagMs: [] };
}
