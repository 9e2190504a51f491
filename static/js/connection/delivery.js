// @ts-check
import { breath, joined, together } from "./batches.js";
import { split } from "./urgent_messages.js";

/**
 * From frames to the screen: each event once and in order, whichever way it came. Stream, poll and another tab may
 * overlap for a moment; each leaves nothing out after the cursor that it began at, so that the higher id always wins.
 */

/** Frames that wait while the page is paused; beyond that its regions are loaded again instead. */
export const HELD_BOUND = 500;

/** @type {Frame} */
const TOO_MUCH = { event: "reset", data: '{"reason":"more came during the pause than is kept"}', id: null, retry: null };

/**
 * @typedef {import("./sse.js").Frame} Frame
 * @typedef {{ frame: Frame, resolve: () => void, reject: (error: unknown) => void }} Turn
 */

export class Delivery {
  #feed;
  #refetch;
  #watch;
  /** @type {Turn[]} */
  #turns = [];
  #working = false;
  /** @type {Frame[] | null} */
  #held = null;
  #overflowed = false;

  /**
   * @param {number} cursor  the id up to which the page shows everything
   * @param {{ write: (frame: Frame) => Promise<void> }} feed
   * @param {() => Promise<number>} refetch  loads the page's regions again and returns their cursor
   * @param {{ note: (message: string) => void, poison?: (error: unknown, frame: Frame) => void }} watch
   */
  constructor(cursor, feed, refetch, watch) {
    this.cursor = cursor; // shown
    this.received = cursor; // shown, on its way to the screen, or held
    this.#feed = feed;
    this.#refetch = refetch;
    this.#watch = watch;
  }

  /**
   * Takes a frame that carries an id; resolves when it is on the screen, or held.
   * @param {Frame} frame
   * @returns {Promise<void>}
   */
  take(frame) {
    const id = Number(frame.id);
    if (frame.event !== "reset" && id <= this.received) return Promise.resolve();
    this.received = id;
    if (this.#held) return this.#hold(this.#held, frame);
    return this.#inTurn(frame);
  }

  /** From here on nothing on the page changes; what people must hear of at once still comes through. */
  hold() {
    this.#held ??= [];
  }

  /** Shows what was held, or the page as it is now where that was too much. */
  async release() {
    const held = this.#held ?? [];
    const overflowed = this.#overflowed;
    this.#held = null;
    this.#overflowed = false;
    if (overflowed) await this.#inTurn(TOO_MUCH);
    await Promise.all(held.map((frame) => this.#inTurn(frame)));
  }

  /**
   * @param {Frame[]} held
   * @param {Frame} frame
   */
  #hold(held, frame) {
    if (frame.event === "signal") {
      signal(frame);
      return Promise.resolve();
    }
    const { urgent, rest } = split(frame.data);
    if (urgent) this.#showNow({ ...frame, data: urgent });
    if (!this.#overflowed) held.push({ ...frame, data: rest });
    if (held.length > HELD_BOUND) {
      held.length = 0;
      this.#overflowed = true;
    }
    return Promise.resolve();
  }

  /** @param {Frame} frame */
  #showNow(frame) {
    this.#feed.write(frame).catch((error) => this.#watch.note(`event ${frame.id} during a pause: ${error}`));
  }

  /**
   * @param {Frame} frame
   * @returns {Promise<void>}
   */
  #inTurn(frame) {
    return new Promise((resolve, reject) => {
      this.#turns.push({ frame, resolve, reject });
      if (!this.#working) this.#work();
    });
  }

  /**
   * One slice after the other. Where one fails for good, those behind it were taken on the strength of it and fail too:
   * whoever brought them begins again after the cursor.
   */
  async #work() {
    this.#working = true;
    while (this.#turns.length > 0) {
      const slice = this.#turns.splice(0, together(framesOf(this.#turns)));
      try {
        await this.#deliver(slice.map(({ frame }) => frame));
        for (const { resolve } of slice) resolve();
      } catch (error) {
        this.received = this.cursor;
        for (const { reject } of [...slice, ...this.#turns.splice(0)]) reject(error);
      }
      await breath();
    }
    this.#working = false;
  }

  /** @param {Frame[]} slice */
  async #deliver(slice) {
    const [first] = slice;
    if (first?.event === "reset") {
      await this.#startOver(`reset (${JSON.parse(first.data).reason})`);
      return;
    }
    const frames = slice.filter(({ id }) => Number(id) > this.cursor);
    if (first?.event === "") await this.#show(frames);
    else frames.forEach(signal);
    this.#moveTo(frames.at(-1));
  }

  /** @param {Frame | undefined} frame */
  #moveTo(frame) {
    this.cursor = Math.max(this.cursor, Number(frame?.id ?? 0)); // showing it may have moved the cursor further
  }

  /** @param {Frame[]} frames */
  async #show(frames) {
    const [first, ...others] = frames;
    if (!first) return;
    try {
      await this.#feed.write(joined(frames));
    } catch (error) {
      if (others.length > 0) await this.#showEach(frames); // all but one of them can be shown
      else await this.#makeUpFor(first, error);
    }
  }

  /** @param {Frame[]} frames */
  async #showEach(frames) {
    for (const frame of frames) {
      if (Number(frame.id) <= this.cursor) continue;
      await this.#show([frame]);
      this.#moveTo(frame);
    }
  }

  /**
   * @param {Frame} frame
   * @param {unknown} error
   */
  async #makeUpFor(frame, error) {
    this.#watch.poison?.(error, frame);
    await this.#startOver(`event ${frame.id} could not be shown (${error})`);
  }

  /**
   * Frames wait meanwhile: one that came between the page's answer and its swap would be lost from the screen.
   * @param {string} why
   */
  async #startOver(why) {
    this.#watch.note(`${why}: loading the page's regions again`);
    this.cursor = await this.#refetch();
    this.received = Math.max(this.received, this.cursor);
  }
}

/**
 * @param {Turn[]} turns
 * @returns {Generator<Frame>}
 */
function* framesOf(turns) {
  for (const { frame } of turns) yield frame;
}

/**
 * Something that a part of the page acts on by itself.
 * @param {Frame} frame
 */
function signal(frame) {
  if (frame.event !== "signal") return;
  document.dispatchEvent(new CustomEvent("beacon:signal", { detail: JSON.parse(frame.data) }));
}
