// @ts-check
import { Bye, isTrouble, pollEnded, streamEnded } from "./endings.js";
import { OtherUser } from "../lib/http.js";
import { decide, initialModel, SILENCE_MS } from "./policy.js";
import { pollAll } from "./poll.js";
import { Ended, Stream } from "./stream.js";

/** So many of the connection's errors are kept to be looked at. */
const KEPT_ERRORS = 10;

const LOOK_EVERY_MS = 1_000;

/** @type {Hearer} */
const NOBODY = { note() {}, status() {}, frame() {}, heard() {}, build() {}, measure() {} };

/**
 * The owner of the connection: the one place that opens streams and polls. Whether this tab is the one that does so is
 * decided in shared_stream.js, which calls `start` and `letGo`.
 *
 * @typedef {import("./policy.js").Happening} Happening
 * @typedef {import("./sse.js").Frame} Frame
 * @typedef {Pick<import("./status.js").Status, "state" | "reason" | "failures" | "lateS" | "nextAttemptAt" | "errors">} Told
 *
 * @typedef {object} Hearer
 * @property {(message: string) => void} note
 * @property {(told: Told) => void} status  the state, its reason or the next attempt changed
 * @property {(frame: Frame) => void} frame  every frame of the stream or of a poll, before it is shown
 * @property {(heartbeatMs?: number) => void} heard  Beacon was heard, and knows what there is to know
 * @property {(build: string) => void} build  the server runs this one
 * @property {(tell: (measure: import("../telemetry/connection_stats.js").Measure) => void) => void} measure  for whoever measures the wire
 */
export class Live {
  #tokens;
  #delivery;
  #session;
  #hearer = NOBODY;
  #model = initialModel();
  #active = false;
  /** @type {Stream | null} */
  #stream = null;
  /** @type {import("./lateness.js").Lateness | null} */
  #lateness = null; // while its module has not come
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #lookTimer;
  /** @type {AbortController | null} */
  #poll = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #openTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pollTimer;
  /** @type {number | null} */
  #retryMs = null; // what the server last asked for
  /** @type {number | null} */
  #nextAttemptAt = null;
  #notBefore = 0; // a refusal named this moment
  /** @type {AbortController | null} */
  #catchUp = null;
  /** @type {readonly import("./status.js").Trouble[]} */
  #errors = [];

  /**
   * @param {import("./stream_token.js").TokenSource} tokens
   * @param {import("./delivery.js").Delivery} delivery
   * @param {string} session  the login that this page was made for
   */
  constructor(tokens, delivery, session) {
    this.#tokens = tokens;
    this.#delivery = delivery;
    this.#session = session;
    addEventListener("offline", () => this.#ifActive({ kind: "no-network" }));
    addEventListener("online", () => this.#ifActive({ kind: "network", barred: this.#isBarred }));
  }

  /** @param {Hearer} hearer */
  listen(hearer) {
    this.#hearer = hearer;
  }

  /**
   * From here on this tab owns a wire.
   * @param {boolean} streamOn
   * @param {number} pollMs
   */
  start(streamOn, pollMs) {
    this.#active = true;
    this.#happened({ kind: "start", streamOn, pollMs, online: navigator.onLine });
  }

  /** Another tab brings the frames, or the page is out of sight. */
  letGo() {
    if (this.#active) this.#hearer.measure((one) => one.letGo());
    this.#active = false;
    this.#close();
  }

  /** Nothing is under way any more: what a frozen page has open would only fail when it thaws. */
  sleep() {
    this.letGo();
    this.#catchUp?.abort();
  }

  /** The flag is off: of the stream nothing is kept. The place in the log is the page's own, and polls go on from it. */
  forget() {
    this.#tokens.drop();
    this.#retryMs = null;
    this.#notBefore = 0;
  }

  /** A person asked for the stream. */
  reconnect() {
    this.#ifActive({ kind: "asked" });
  }

  /** Timers stand still while a computer sleeps: whoever wakes looks at once. */
  wake() {
    this.#ifActive({ kind: "woke", overdue: this.#stream?.isOverdue ?? false, barred: this.#isBarred });
  }

  get #isBarred() {
    return Date.now() < this.#notBefore;
  }

  /**
   * Fetches what came after the cursor, for a tab that owns no wire.
   * @returns {Promise<boolean>} whether it worked
   */
  async catchUp() {
    const { signal } = (this.#catchUp = new AbortController());
    try {
      await pollAll(() => this.#delivery.received, (frame) => this.#takePolled(frame), signal);
      this.#hearer.heard();
      return true;
    } catch (error) {
      this.#hearer.note(`catching up: ${error}`);
      const { kind } = pollEnded(error);
      if (kind !== "poll-failed") this.#happened({ kind });
      return false;
    }
  }

  /** @param {Happening} happening */
  #ifActive(happening) {
    if (this.#active) this.#happened(happening);
  }

  /** @param {Happening} happening */
  #happened(happening) {
    const before = this.#model;
    const { model, open, poll, close } = decide(before, happening, Math.random());
    this.#model = model;
    if (model.reason === "flag-off" && before.reason !== "flag-off") this.forget();
    const at = performance.now();
    this.#hearer.measure((one) => one.happened(happening, before, model, at));
    if (close) this.#close();
    if (open !== undefined) this.#schedule("open", open);
    if (poll !== undefined) this.#schedule("poll", poll);
    const changed = model.state !== before.state || model.reason !== before.reason || model.lateS !== before.lateS || happening.kind === "start";
    if (changed || open !== undefined || model.failures !== before.failures) this.#tell();
  }

  /**
   * @param {"open" | "poll"} what
   * @param {number | null} ms
   */
  #schedule(what, ms) {
    clearTimeout(what === "open" ? this.#openTimer : this.#pollTimer);
    if (what === "open") this.#nextAttemptAt = ms === null ? null : Date.now() + ms;
    if (ms === null && what === "poll") this.#dropPoll();
    if (ms === null) return;
    if (what === "open" && ms > 0) this.#hearer.note(`next attempt in ${(ms / 1_000).toFixed(1)} s`);
    const timer = setTimeout(() => (what === "open" ? this.#open() : this.#pollNow()), ms);
    if (what === "open") this.#openTimer = timer;
    else this.#pollTimer = timer;
  }

  async #open() {
    this.#stream?.close();
    const stream = (this.#stream = new Stream());
    this.#nextAttemptAt = null;
    const at = performance.now();
    this.#hearer.measure((one) => one.opening(at));
    this.#hearer.note(`opening the stream after event ${this.#delivery.received}`);
    try {
      await stream.read(this.#tokens, this.#delivery.received, (frame) => this.#take(stream, frame));
    } catch (error) {
      if (this.#stream !== stream) return; // let go on purpose: nobody waits for it any more
      this.#stream = null;
      clearInterval(this.#lookTimer);
      this.#noteError("stream", error);
      this.#ended(streamEnded(error));
    }
  }

  /** @param {Happening} happening */
  #ended(happening) {
    if (happening.kind === "failed") this.#notBefore = Date.now() + (happening.retryAfterMs ?? 0);
    this.#happened(happening);
  }

  /**
   * @param {Stream} stream
   * @param {Frame} frame
   */
  async #take(stream, frame) {
    if (stream !== this.#stream) throw new Ended("closed");
    if (frame.retry !== null) this.#retryMs = frame.retry;
    if (frame.event === "hello") this.#greeted(frame);
    if (frame.event === "bye") this.#goodbye(JSON.parse(frame.data).reason);
    if (frame.event === "heartbeat") this.#heartbeat(JSON.parse(frame.data));
    if (isEvent(frame)) this.#happened({ kind: "proof" });
    if (isEvent(frame)) this.#hearer.heard();
    this.#hearer.frame(frame);
    if (frame.id !== null) await this.#delivery.take(frame);
  }

  /** @param {Frame} frame */
  #greeted(frame) {
    const { heartbeatS } = JSON.parse(frame.data);
    this.#checkHello(frame);
    this.#hearer.heard(1_000 * heartbeatS);
    this.#happened({ kind: "hello" });
    this.#hearer.note("the server said hello");
    this.#watchLateness(heartbeatS).catch((error) => this.#hearer.note(`lateness: ${error}`));
  }

  /**
   * By a module that the first load does not wait for: nothing is late for as long as that.
   * @param {number} heartbeatS
   */
  async #watchLateness(heartbeatS) {
    const [stream, at] = [this.#stream, performance.now()];
    this.#lateness = null;
    clearInterval(this.#lookTimer);
    const { Lateness } = await import("./lateness.js");
    if (stream !== this.#stream) return;
    this.#lateness = new Lateness(1_000 * heartbeatS || SILENCE_MS, at);
    this.#lookTimer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** @param {{ timestamp: string, degraded: boolean }} said */
  #heartbeat({ timestamp, degraded }) {
    const now = performance.now();
    this.#lateness?.heartbeat(Date.parse(timestamp), now);
    if (degraded !== true) this.#hearer.heard();
    this.#happened({ kind: "heartbeat", degraded: degraded === true, lateS: this.#lateS(now) });
  }

  /** @param {number} now */
  #lateS(now) {
    return this.#lateness?.by(now) ?? 0;
  }

  /** A heartbeat that is due and does not come tells nobody. */
  #look() {
    const lateS = this.#lateS(performance.now());
    if (this.#active && lateS !== this.#model.lateS) this.#happened({ kind: "late", lateS });
  }

  /** @param {Frame} frame */
  #checkHello(frame) {
    const { session, build } = JSON.parse(frame.data);
    if (session !== this.#session) throw new OtherUser();
    this.#hearer.build(build);
  }

  /** @param {string} reason */
  #goodbye(reason) {
    if (reason === "revoked") this.#tokens.drop();
    throw new Bye(reason, this.#retryMs);
  }

  async #pollNow() {
    if (this.#poll) return; // one at a time: a slow server must not collect them
    const poll = (this.#poll = new AbortController());
    try {
      const stream = await pollAll(() => this.#delivery.received, (frame) => this.#takePolled(frame), poll.signal);
      if (this.#poll !== poll) return;
      this.#poll = null;
      this.#hearer.note(`polled up to event ${this.#delivery.received}`);
      this.#hearer.heard();
      this.#happened({ kind: "polled", stream });
    } catch (error) {
      if (this.#poll !== poll) return; // let go on purpose
      this.#poll = null;
      this.#noteError("poll", error);
      this.#happened(pollEnded(error));
    }
  }

  /** @param {Frame} frame */
  async #takePolled(frame) {
    if (frame.event === "hello") this.#checkHello(frame);
    if (frame.id === null) return;
    if (this.#active) this.#hearer.frame(frame);
    await this.#delivery.take(frame);
  }

  #close() {
    clearTimeout(this.#openTimer);
    clearTimeout(this.#pollTimer);
    clearInterval(this.#lookTimer);
    const stream = this.#stream;
    this.#stream = null;
    stream?.close();
    this.#dropPoll();
  }

  #dropPoll() {
    const poll = this.#poll;
    this.#poll = null;
    poll?.abort();
  }

  /**
   * @param {string} what
   * @param {unknown} error
   */
  #noteError(what, error) {
    const text = `${what}: ${error instanceof Error ? error.message : error}`;
    this.#hearer.note(text);
    if (!isTrouble(error)) return;
    this.#errors = [...this.#errors, { at: Date.now(), text }].slice(-KEPT_ERRORS);
  }

  #tell() {
    const { state, reason, failures, lateS } = this.#model;
    this.#hearer.status({ state, reason, failures, lateS, nextAttemptAt: this.#nextAttemptAt, errors: this.#errors });
  }
}

/**
 * A reset is no proof of a working stream: it may come on each of a row of failures.
 * @param {Frame} frame
 */
function isEvent(frame) {
  return frame.id !== null && frame.event !== "reset";
}
