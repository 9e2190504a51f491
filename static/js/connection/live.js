// @ts-check
import { StreamBye, isError, pollEndEvent, streamEndEvent } from "./endings.js";
import { DifferentUserError } from "../lib/http.js";
import { Lateness } from "./lateness.js";
import { decide, initialModel, SILENCE_TIMEOUT_MS } from "./policy.js";
import { pollAll } from "./poll.js";
import { StreamEnded, Stream } from "./stream.js";

/** How many errors of the connection are kept for its details. */
const MAX_ERRORS_KEPT = 10;

const LATENESS_CHECK_MS = 1_000;

/** @type {Listener} */
const NO_LISTENER = { log() {}, status() {}, frame() {}, beaconHeard() {}, build() {}, withStats() {} };

/**
 * Owns the connection: the one place that opens streams and polls. shared_stream.js decides whether this tab does so, and
 * calls `start` and `stop`.
 *
 * @typedef {import("./policy.js").ConnectionEvent} ConnectionEvent
 * @typedef {import("./sse.js").Frame} Frame
 * @typedef {Pick<import("./status.js").Status, "state" | "reason" | "failures" | "lateS" | "nextAttemptAt" | "errors">} ConnectionUpdate
 *
 * @typedef {object} Listener
 * @property {(message: string) => void} log
 * @property {(update: ConnectionUpdate) => void} status  the state, its reason or the next attempt changed
 * @property {(frame: Frame) => void} frame  every frame of the stream or of a poll, before it is shown
 * @property {(heartbeatMs?: number) => void} beaconHeard  Beacon answered, and its data is up to date
 * @property {(build: string) => void} build  the server runs this one
 * @property {(tell: (measure: import("../telemetry/connection_stats.js").ConnectionStats) => void) => void} withStats  passes the connection's statistics to `tell`, if this page keeps any
 */
export class LiveConnection {
  #tokens;
  #delivery;
  #session;
  #listener = NO_LISTENER;
  #model = initialModel();
  #active = false;
  /** @type {Stream | null} */
  #stream = null;
  /** @type {Lateness | null} */
  #lateness = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #latenessTimer;
  /** @type {AbortController | null} */
  #poll = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #openTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pollTimer;
  /** @type {number | null} */
  #retryMs = null; // as the server last said
  /** @type {number | null} */
  #nextAttemptAt = null;
  #retryNotBefore = 0; // from a refusal's Retry-After
  /** @type {AbortController | null} */
  #catchUp = null;
  /** @type {readonly import("./status.js").Trouble[]} */
  #errors = [];

  /**
   * @param {import("./stream_token.js").StreamTokenSource} tokens
   * @param {import("./delivery.js").Delivery} delivery
   * @param {string} session  the login session of this page
   */
  constructor(tokens, delivery, session) {
    this.#tokens = tokens;
    this.#delivery = delivery;
    this.#session = session;
    addEventListener("offline", () => this.#dispatchIfActive({ kind: "no-network" }));
    addEventListener("online", () => this.#dispatchIfActive({ kind: "network", barred: this.#mustWait }));
  }

  /** @param {Listener} listener */
  setListener(listener) {
    this.#listener = listener;
  }

  /**
   * Makes this tab the owner of a connection.
   * @param {boolean} streamOn
   * @param {number} pollMs
   */
  start(streamOn, pollMs) {
    this.#active = true;
    this.#dispatch({ kind: "start", streamOn, pollMs, online: navigator.onLine });
  }

  /** Another tab delivers the frames, or the page is hidden. */
  stop() {
    if (this.#active) this.#listener.withStats((one) => one.stop());
    this.#active = false;
    this.#close();
  }

  /** Ends every request: one left open in a frozen page would only fail when the page thaws. */
  suspend() {
    this.stop();
    this.#catchUp?.abort();
  }

  /** The flag is off: drops everything about the stream. Polls continue from the page's cursor. */
  forgetStream() {
    this.#tokens.drop();
    this.#retryMs = null;
    this.#retryNotBefore = 0;
  }

  /** The reader pressed Reconnect. */
  reconnect() {
    this.#dispatchIfActive({ kind: "asked" });
  }

  /** Timers stop while a computer sleeps, so the connection is checked at once. */
  wake() {
    this.#dispatchIfActive({ kind: "woke", overdue: this.#stream?.isOverdue ?? false, barred: this.#mustWait });
  }

  get #mustWait() {
    return Date.now() < this.#retryNotBefore;
  }

  /**
   * Fetches what came after the cursor, for a tab without a connection of its own.
   * @returns {Promise<boolean>} whether it worked
   */
  async catchUp() {
    const { signal } = (this.#catchUp = new AbortController());
    try {
      await pollAll(() => this.#delivery.received, (frame) => this.#onPolledFrame(frame), signal);
      this.#listener.beaconHeard();
      return true;
    } catch (error) {
      this.#listener.log(`catching up: ${error}`);
      const { kind } = pollEndEvent(error);
      if (kind !== "poll-failed") this.#dispatch({ kind });
      return false;
    }
  }

  /** @param {ConnectionEvent} event */
  #dispatchIfActive(event) {
    if (this.#active) this.#dispatch(event);
  }

  /** @param {ConnectionEvent} event */
  #dispatch(event) {
    const before = this.#model;
    const { model, open, poll, close } = decide(before, event, Math.random());
    this.#model = model;
    if (model.reason === "flag-off" && before.reason !== "flag-off") this.forgetStream();
    const at = performance.now();
    this.#listener.withStats((one) => one.onConnectionEvent(event, before, model, at));
    if (close) this.#close();
    if (open !== undefined) this.#schedule("open", open);
    if (poll !== undefined) this.#schedule("poll", poll);
    const changed = model.state !== before.state || model.reason !== before.reason || model.lateS !== before.lateS || event.kind === "start";
    if (changed || open !== undefined || model.failures !== before.failures) this.#publishStatus();
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
    if (what === "open" && ms > 0) this.#listener.log(`next attempt in ${(ms / 1_000).toFixed(1)} s`);
    const timer = setTimeout(() => (what === "open" ? this.#open() : this.#pollNow()), ms);
    if (what === "open") this.#openTimer = timer;
    else this.#pollTimer = timer;
  }

  async #open() {
    this.#stream?.close();
    const stream = (this.#stream = new Stream());
    this.#nextAttemptAt = null;
    const at = performance.now();
    this.#listener.withStats((one) => one.streamOpening(at));
    this.#listener.log(`opening the stream after event ${this.#delivery.received}`);
    try {
      await stream.read(this.#tokens, this.#delivery.received, (frame) => this.#onFrame(stream, frame));
    } catch (error) {
      if (this.#stream !== stream) return; // closed on purpose
      this.#stream = null;
      clearInterval(this.#latenessTimer);
      const lasted = this.#model.state === "connected" ? ` after ${Math.round((performance.now() - at) / 1_000)} s` : "";
      this.#keepError("stream", error, lasted);
      this.#onStreamEnd(streamEndEvent(error));
    }
  }

  /** @param {ConnectionEvent} event */
  #onStreamEnd(event) {
    if (event.kind === "failed") this.#retryNotBefore = Date.now() + (event.retryAfterMs ?? 0);
    this.#dispatch(event);
  }

  /**
   * @param {Stream} stream
   * @param {Frame} frame
   */
  async #onFrame(stream, frame) {
    if (stream !== this.#stream) throw new StreamEnded("closed");
    if (frame.retry !== null) this.#retryMs = frame.retry;
    if (frame.event === "hello") this.#onHello(frame);
    if (frame.event === "bye") this.#onBye(JSON.parse(frame.data).reason);
    if (frame.event === "heartbeat") this.#onHeartbeat(JSON.parse(frame.data));
    if (isLogEvent(frame)) this.#dispatch({ kind: "proof" });
    if (isLogEvent(frame)) this.#listener.beaconHeard();
    this.#listener.frame(frame);
    if (frame.id !== null) await this.#delivery.take(frame);
  }

  /** @param {Frame} frame */
  #onHello(frame) {
    const { heartbeatS } = JSON.parse(frame.data);
    this.#checkHello(frame);
    this.#listener.beaconHeard(1_000 * heartbeatS);
    this.#dispatch({ kind: "hello" });
    this.#listener.log("the server said hello");
    this.#watchLateness(heartbeatS);
  }

  /** @param {number} heartbeatS */
  #watchLateness(heartbeatS) {
    clearInterval(this.#latenessTimer);
    this.#lateness = new Lateness(1_000 * heartbeatS || SILENCE_TIMEOUT_MS, performance.now());
    this.#latenessTimer = setInterval(() => this.#checkLateness(), LATENESS_CHECK_MS);
  }

  /** @param {{ timestamp: string, degraded: boolean }} said */
  #onHeartbeat({ timestamp, degraded }) {
    const now = performance.now();
    this.#lateness?.heartbeat(Date.parse(timestamp), now);
    if (degraded !== true) this.#listener.beaconHeard();
    this.#dispatch({ kind: "heartbeat", degraded: degraded === true, lateS: this.#latenessAt(now) });
  }

  /** @param {number} now */
  #latenessAt(now) {
    return this.#lateness?.secondsAt(now) ?? 0;
  }

  /** A missing heartbeat fires no event, so a timer looks for it. */
  #checkLateness() {
    const lateS = this.#latenessAt(performance.now());
    if (this.#active && lateS !== this.#model.lateS) this.#dispatch({ kind: "late", lateS });
  }

  /** @param {Frame} frame */
  #checkHello(frame) {
    const { session, build } = JSON.parse(frame.data);
    if (session !== this.#session) throw new DifferentUserError();
    this.#listener.build(build);
  }

  /** @param {string} reason */
  #onBye(reason) {
    if (reason === "revoked") this.#tokens.drop();
    throw new StreamBye(reason, this.#retryMs);
  }

  async #pollNow() {
    if (this.#poll) return; // one at a time, so that they do not pile up at a slow server
    const poll = (this.#poll = new AbortController());
    try {
      const stream = await pollAll(() => this.#delivery.received, (frame) => this.#onPolledFrame(frame), poll.signal);
      if (this.#poll !== poll) return;
      this.#poll = null;
      this.#listener.log(`polled up to event ${this.#delivery.received}`);
      this.#listener.beaconHeard();
      this.#dispatch({ kind: "polled", stream });
    } catch (error) {
      if (this.#poll !== poll) return; // aborted on purpose
      this.#poll = null;
      this.#keepError("poll", error);
      this.#dispatch(pollEndEvent(error));
    }
  }

  /** @param {Frame} frame */
  async #onPolledFrame(frame) {
    if (frame.event === "hello") this.#checkHello(frame);
    if (frame.id === null) return;
    if (this.#active) this.#listener.frame(frame);
    await this.#delivery.take(frame);
  }

  #close() {
    clearTimeout(this.#openTimer);
    clearTimeout(this.#pollTimer);
    clearInterval(this.#latenessTimer);
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
   * @param {string} [lasted]  as ui/cut_pattern.js reads it
   */
  #keepError(what, error, lasted = "") {
    const text = `${what}: ${error instanceof Error ? error.message : error}${lasted}`;
    this.#listener.log(text);
    if (!isError(error)) return;
    this.#errors = [...this.#errors, { at: Date.now(), text }].slice(-MAX_ERRORS_KEPT);
  }

  #publishStatus() {
    const { state, reason, failures, lateS } = this.#model;
    this.#listener.status({ state, reason, failures, lateS, nextAttemptAt: this.#nextAttemptAt, errors: this.#errors });
  }
}

/**
 * A reset does not prove that the stream works: each of several failing streams may begin with one.
 * @param {Frame} frame
 */
function isLogEvent(frame) {
  return frame.id !== null && frame.event !== "reset";
}
