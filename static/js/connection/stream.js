// @ts-check
import { fetchChecked, ResponseError } from "../lib/http.js";
import { HELLO_TIMEOUT_MS, SILENCE_TIMEOUT_MS } from "./policy.js";
import { FrameParser } from "./sse.js";

const ADDRESS = "/api/stream/events?as=html";
/** How late a heartbeat may be without a meaning. */
const HEARTBEAT_GRACE_MS = 2_000;

/**
 * @typedef {import("./sse.js").Frame} Frame
 * @typedef {(frame: Frame) => Promise<void>} TakeFrame
 */

/** The stream ended for a known reason: nothing was received in time, or it was closed here. */
export class StreamEnded extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** One stream, from the request to its end. */
export class Stream {
  #control = new AbortController();
  #lastFrameAt = Date.now();
  #silenceMs = SILENCE_TIMEOUT_MS;
  #heartbeatMs = SILENCE_TIMEOUT_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * Reads until the stream ends, and then throws `ResponseError`, `StreamEnded` or the network's error.
   * @param {import("./stream_token.js").StreamTokenSource} tokens
   * @param {number} cursor
   * @param {TakeFrame} take  nothing more is read until it resolves
   * @returns {Promise<never>}
   */
  async read(tokens, cursor, take) {
    this.#setTimeout(HELLO_TIMEOUT_MS, "no-hello");
    try {
      const response = await this.#request(tokens, cursor);
      await this.#read(response, take);
    } catch (error) {
      throw this.#control.signal.aborted ? this.#control.signal.reason : error;
    } finally {
      clearTimeout(this.#timer);
      this.close();
    }
    throw new StreamEnded("lost");
  }

  close() {
    this.#control.abort(new StreamEnded("closed"));
  }

  /** Whether a heartbeat is missing: a computer that slept may have lost its stream without notice. */
  get isOverdue() {
    return Date.now() - this.#lastFrameAt > this.#heartbeatMs + HEARTBEAT_GRACE_MS;
  }

  /**
   * @param {import("./stream_token.js").StreamTokenSource} tokens
   * @param {number} cursor
   */
  async #request(tokens, cursor) {
    try {
      return await this.#fetch(await tokens.get(this.#control.signal), cursor);
    } catch (error) {
      if (!(error instanceof ResponseError) || error.status !== 401) throw error;
      tokens.drop(); // it may just have expired: try one new token
      return await this.#fetch(await tokens.get(this.#control.signal), cursor);
    }
  }

  /**
   * @param {string} token
   * @param {number} cursor
   */
  #fetch(token, cursor) {
    const headers = { Accept: "text/event-stream", Authorization: `Bearer ${token}`, "Last-Event-ID": String(cursor) };
    return fetchChecked(ADDRESS, { headers, signal: this.#control.signal }, "text/event-stream");
  }

  /**
   * @param {Response} response
   * @param {TakeFrame} take
   */
  async #read(response, take) {
    let greeted = false;
    for await (const frames of readFrames(response)) {
      await takeFrames(frames, async (frame) => {
        if (frame.event === "hello") {
          greeted = true;
          this.#heartbeatMs = 1_000 * (JSON.parse(frame.data).heartbeatS ?? 0) || SILENCE_TIMEOUT_MS;
          this.#silenceMs = Math.max(SILENCE_TIMEOUT_MS, 2 * this.#heartbeatMs);
        }
        this.#lastFrameAt = Date.now();
        if (greeted) this.#setTimeout(this.#silenceMs, "silence");
        await take(frame);
      });
    }
  }

  /**
   * @param {number} ms
   * @param {string} reason
   */
  #setTimeout(ms, reason) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#control.abort(new StreamEnded(reason)), ms);
  }
}

/**
 * Frames that arrive in one chunk are taken together, so that they can be shown together.
 * @param {Frame[]} frames
 * @param {TakeFrame} take
 */
export async function takeFrames(frames, take) {
  const taken = frames.map(take);
  for (const one of taken) one.catch(() => {}); // the first failure is thrown below
  for (const one of taken) await one;
}

/**
 * The frames of a response, for each chunk of its body.
 * @param {Response} response
 * @returns {AsyncGenerator<Frame[]>}
 */
export async function* readFrames(response) {
  if (!response.body) throw new ResponseError("no-body", response.status);
  const reader = response.body.getReader();
  const parser = new FrameParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield parser.push(value);
    }
  } finally {
    reader.cancel().catch(() => {}); // the connection may be closed already
  }
}
