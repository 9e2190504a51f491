// @ts-check
import { Refused } from "./http.js";
import { decide, initialModel } from "./policy.js";
import { pollAll } from "./poll.js";
import { Ended, Stream } from "./stream.js";

/** The server said that it closes, and why. */
class Bye extends Error {
  /**
   * @param {string} reason
   * @param {number | null} retryMs
   */
  constructor(reason, retryMs) {
    super(`bye: ${reason}`);
    this.reason = reason;
    this.retryMs = retryMs;
  }
}

/**
 * The owner of the connection: the one place that opens streams, polls, keeps the state and tells it.
 *
 * @typedef {import("./policy.js").Happening} Happening
 * @typedef {import("./sse.js").Frame} Frame
 * @typedef {{ state: import("./policy.js").State, reason: string, failures: number }} Status
 */
export class Live {
  #tokens;
  #delivery;
  #note;
  #model = initialModel();
  /** @type {Stream | null} */
  #stream = null;
  /** @type {AbortController | null} */
  #poll = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #openTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pollTimer;
  /** @type {number | null} */
  #retryMs = null; // what the server last asked for

  /**
   * @param {import("./token.js").TokenSource} tokens
   * @param {import("./delivery.js").Delivery} delivery
   * @param {(message: string) => void} note
   */
  constructor(tokens, delivery, note) {
    this.#tokens = tokens;
    this.#delivery = delivery;
    this.#note = note;
  }

  /**
   * @param {boolean} streamOn
   * @param {number} pollMs
   */
  start(streamOn, pollMs) {
    this.#happened({ kind: "start", streamOn, pollMs, online: navigator.onLine });
    addEventListener("offline", () => this.#happened({ kind: "no-network" }));
    addEventListener("online", () => this.#happened({ kind: "network" }));
    document.addEventListener("visibilitychange", () => this.#stream?.checkSilence());
    // A page that is left lets go of its stream; one that comes back out of the browser's cache begins again.
    addEventListener("pagehide", () => this.#letGo());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.#happened({ kind: "start", streamOn: this.#model.streamAllowed, pollMs, online: navigator.onLine });
    });
  }

  /** @param {Happening} happening */
  #happened(happening) {
    const before = this.#model;
    const { model, open, poll, close } = decide(before, happening, Math.random());
    this.#model = model;
    if (close) this.#letGo();
    if (open !== undefined) this.#schedule("open", open);
    if (poll !== undefined) this.#schedule("poll", poll);
    if (model.state !== before.state || model.reason !== before.reason || happening.kind === "start") this.#tell();
  }

  /**
   * @param {"open" | "poll"} what
   * @param {number | null} ms
   */
  #schedule(what, ms) {
    clearTimeout(what === "open" ? this.#openTimer : this.#pollTimer);
    if (ms === null && what === "poll") this.#dropPoll();
    if (ms === null) return;
    if (what === "open" && ms > 0) this.#note(`next attempt in ${(ms / 1_000).toFixed(1)} s`);
    const timer = setTimeout(() => (what === "open" ? this.#open() : this.#pollNow()), ms);
    if (what === "open") this.#openTimer = timer;
    else this.#pollTimer = timer;
  }

  async #open() {
    this.#stream?.close();
    const stream = (this.#stream = new Stream());
    this.#note(`opening the stream after event ${this.#delivery.cursor}`);
    try {
      await stream.read(this.#tokens, this.#delivery.cursor, (frame) => this.#take(stream, frame));
    } catch (error) {
      if (this.#stream !== stream) return; // let go on purpose: nobody waits for it any more
      this.#stream = null;
      this.#note(`stream: ${error}`);
      this.#happened(this.#streamEnded(error));
    }
  }

  /**
   * @param {unknown} error
   * @returns {Happening}
   */
  #streamEnded(error) {
    if (error instanceof Bye) return { kind: "bye", reason: error.reason, retryMs: error.retryMs };
    if (error instanceof Ended) return { kind: "failed", reason: error.reason };
    if (!(error instanceof Refused)) return { kind: "failed", reason: "lost" };
    if (error.status === 401) return { kind: "signed-out" };
    if (error.status === 403 && error.reason === "flag-off") return { kind: "flag-off" };
    return { kind: "failed", reason: "refused", retryAfterMs: error.retryAfterMs };
  }

  /**
   * @param {Stream} stream
   * @param {Frame} frame
   */
  async #take(stream, frame) {
    if (stream !== this.#stream) throw new Ended("closed");
    if (frame.retry !== null) this.#retryMs = frame.retry;
    if (frame.event === "hello") this.#happened({ kind: "hello" });
    if (frame.event === "bye") this.#goodbye(JSON.parse(frame.data).reason);
    if (frame.event === "heartbeat") this.#happened({ kind: "heartbeat", degraded: JSON.parse(frame.data).degraded === true });
    if (isEvent(frame)) this.#happened({ kind: "proof" });
    if (frame.id !== null) await this.#delivery.take(frame);
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
      const stream = await pollAll(() => this.#delivery.cursor, (frame) => this.#takePolled(frame), poll.signal);
      if (this.#poll !== poll) return;
      this.#poll = null;
      this.#note(`polled up to event ${this.#delivery.cursor}`);
      this.#happened({ kind: "polled", stream });
    } catch (error) {
      if (this.#poll !== poll) return; // let go on purpose
      this.#poll = null;
      this.#note(`poll: ${error}`);
      this.#happened(pollEnded(error));
    }
  }

  /** @param {Frame} frame */
  async #takePolled(frame) {
    if (frame.id !== null) await this.#delivery.take(frame);
  }

  #letGo() {
    clearTimeout(this.#openTimer);
    clearTimeout(this.#pollTimer);
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

  #tell() {
    const { state, reason, failures } = this.#model;
    this.#note(`${state} (${reason})`);
    document.documentElement.dataset.connection = state;
    document.dispatchEvent(new CustomEvent("beacon:connection", { detail: { state, reason, failures } }));
  }
}

/**
 * @param {unknown} error
 * @returns {Happening}
 */
function pollEnded(error) {
  if (error instanceof Refused && error.status === 401) return { kind: "signed-out" };
  return { kind: "poll-failed", retryAfterMs: error instanceof Refused ? error.retryAfterMs : undefined };
}

/**
 * A reset is no proof of a working stream: it may come on each of a row of failures.
 * @param {Frame} frame
 */
function isEvent(frame) {
  return frame.id !== null && frame.event !== "reset";
}
