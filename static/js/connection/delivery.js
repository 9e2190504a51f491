// @ts-check
import { yieldToPage, joinFrames, batchLength } from "./batches.js";
import { splitUrgent } from "./urgent_messages.js";

/**
 * Brings frames to the screen: each event once and in order, whichever way it came. Stream, poll and another tab may
 * overlap for a moment. Each delivers everything after the cursor it began at, so the highest id is always right.
 */

/** How many frames a paused page holds; beyond that its regions are reloaded instead. */
export const MAX_HELD_FRAMES = 500;

/** @type {Frame} */
const OVERFLOW_RESET = { event: "reset", data: '{"reason":"more came during the pause than is kept"}', id: null, retry: null };

/**
 * @typedef {import("./sse.js").Frame} Frame
 * @typedef {{ frame: Frame, resolve: () => void, reject: (error: unknown) => void }} QueuedFrame
 */

export class Delivery {
  #bridge;
  #refetch;
  #observer;
  /** @type {QueuedFrame[]} */
  #queue = [];
  #draining = false;
  /** @type {Frame[] | null} */
  #held = null;
  #overflowed = false;

  /**
   * @param {number} cursor  the id up to which the page shows everything
   * @param {{ write: (frame: Frame) => Promise<void> }} bridge
   * @param {() => Promise<number>} refetch  reloads the page's regions and returns their cursor
   * @param {{ log: (message: string) => void, renderFailed?: (error: unknown, frame: Frame) => void }} observer
   */
  constructor(cursor, bridge, refetch, observer) {
    this.cursor = cursor; // shown
    this.received = cursor; // shown, queued or held
    this.#bridge = bridge;
    this.#refetch = refetch;
    this.#observer = observer;
  }

  /**
   * Takes a frame with an id; resolves when it is shown or held.
   * @param {Frame} frame
   * @returns {Promise<void>}
   */
  take(frame) {
    const id = Number(frame.id);
    if (frame.event !== "reset" && id <= this.received) return Promise.resolve();
    this.received = id;
    if (this.#held) return this.#hold(this.#held, frame);
    return this.#enqueue(frame);
  }

  /** Pauses the page: nothing changes any more, except that operators' messages are still shown. */
  hold() {
    this.#held ??= [];
  }

  /** Shows the held frames; if there were too many, reloads the page's regions. */
  async release() {
    const held = this.#held ?? [];
    const overflowed = this.#overflowed;
    this.#held = null;
    this.#overflowed = false;
    if (overflowed) await this.#enqueue(OVERFLOW_RESET);
    await Promise.all(held.map((frame) => this.#enqueue(frame)));
  }

  /**
   * @param {Frame[]} held
   * @param {Frame} frame
   */
  #hold(held, frame) {
    if (frame.event === "signal") {
      dispatchSignal(frame);
      return Promise.resolve();
    }
    const { urgent, rest } = splitUrgent(frame.data);
    if (urgent) this.#showNow({ ...frame, data: urgent });
    if (!this.#overflowed) held.push({ ...frame, data: rest });
    if (held.length > MAX_HELD_FRAMES) {
      held.length = 0;
      this.#overflowed = true;
    }
    return Promise.resolve();
  }

  /** @param {Frame} frame */
  #showNow(frame) {
    this.#bridge.write(frame).catch((error) => this.#observer.log(`event ${frame.id} during a pause: ${error}`));
  }

  /**
   * @param {Frame} frame
   * @returns {Promise<void>}
   */
  #enqueue(frame) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ frame, resolve, reject });
      if (!this.#draining) this.#drain();
    });
  }

  /**
   * Delivers one batch after the other. If one fails for good, those queued behind it fail too, and their sender starts
   * again after the cursor.
   */
  async #drain() {
    this.#draining = true;
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, batchLength(queuedFrames(this.#queue)));
      try {
        await this.#deliver(batch.map(({ frame }) => frame));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        this.received = this.cursor;
        for (const { reject } of [...batch, ...this.#queue.splice(0)]) reject(error);
      }
      await yieldToPage();
    }
    this.#draining = false;
  }

  /** @param {Frame[]} batch */
  async #deliver(batch) {
    const [first] = batch;
    if (first?.event === "reset") {
      await this.#reload(`reset (${JSON.parse(first.data).reason})`);
      return;
    }
    const frames = batch.filter(({ id }) => Number(id) > this.cursor);
    if (first?.event === "") await this.#show(frames);
    else frames.forEach(dispatchSignal);
    this.#advance(frames.at(-1));
  }

  /** @param {Frame | undefined} frame */
  #advance(frame) {
    this.cursor = Math.max(this.cursor, Number(frame?.id ?? 0)); // a reload may have moved the cursor further
  }

  /** @param {Frame[]} frames */
  async #show(frames) {
    const [first, ...others] = frames;
    if (!first) return;
    try {
      await this.#bridge.write(joinFrames(frames));
    } catch (error) {
      if (others.length > 0) await this.#showEach(frames); // perhaps only one of them is bad
      else await this.#recover(first, error);
    }
  }

  /** @param {Frame[]} frames */
  async #showEach(frames) {
    for (const frame of frames) {
      if (Number(frame.id) <= this.cursor) continue;
      await this.#show([frame]);
      this.#advance(frame);
    }
  }

  /**
   * @param {Frame} frame
   * @param {unknown} error
   */
  async #recover(frame, error) {
    this.#observer.renderFailed?.(error, frame);
    await this.#reload(`event ${frame.id} could not be shown (${error})`);
  }

  /**
   * Frames are queued meanwhile: one shown between the server's answer and the swap would be overwritten.
   * @param {string} why
   */
  async #reload(why) {
    this.#observer.log(`${why}: loading the page's regions again`);
    this.cursor = await this.#refetch();
    this.received = Math.max(this.received, this.cursor);
  }
}

/**
 * @param {QueuedFrame[]} queue
 * @returns {Generator<Frame>}
 */
function* queuedFrames(queue) {
  for (const { frame } of queue) yield frame;
}

/**
 * Dispatches an event that a part of the page acts on.
 * @param {Frame} frame
 */
function dispatchSignal(frame) {
  if (frame.event !== "signal") return;
  document.dispatchEvent(new CustomEvent("beacon:signal", { detail: JSON.parse(frame.data) }));
}
