// @ts-check
import { split } from "./urgent.js";

/**
 * From frames to the screen: each event once and in order, whichever way it came. Stream, poll and another tab may
 * overlap for a moment; each leaves nothing out after the cursor that it began at, so that the higher id always wins.
 */

/** Frames that wait while the page is paused; beyond that its regions are loaded again instead. */
export const HELD_BOUND = 500;

/** @typedef {import("./sse.js").Frame} Frame */

export class Delivery {
  #feed;
  #refetch;
  #watch;
  /** @type {Promise<void>} */
  #work = Promise.resolve();
  /** @type {Frame[] | null} */
  #held = null;
  #overflowed = false;
  #attempt = 0;

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
    return this.#inTurn(() => this.#deliver(frame));
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
    if (overflowed) await this.#inTurn(() => this.#startOver("more came during the pause than is kept"));
    await Promise.all(held.map((frame) => this.#inTurn(() => this.#deliver(frame))));
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
    const shown = this.#work.then(() => this.#feed.write(frame));
    this.#work = shown.catch((error) => this.#watch.note(`event ${frame.id} during a pause: ${error}`));
  }

  /**
   * One after the other. Where one fails for good, those behind it were taken on the strength of it and fail too:
   * whoever brought them begins again after the cursor.
   * @param {() => Promise<void>} step
   */
  #inTurn(step) {
    const attempt = this.#attempt;
    const turn = this.#work.then(async () => {
      if (attempt !== this.#attempt) throw new Error("what came before it could not be shown");
      try {
        await step();
      } catch (error) {
        this.#attempt += 1;
        this.received = this.cursor;
        throw error;
      }
    });
    this.#work = turn.catch(() => {}); // whoever sent it hears of it; the next one has its own turn
    return turn;
  }

  /** @param {Frame} frame */
  async #deliver(frame) {
    const id = Number(frame.id);
    if (frame.event === "reset") {
      await this.#startOver(`reset (${JSON.parse(frame.data).reason})`);
    } else if (id > this.cursor) {
      if (frame.event === "") await this.#show(frame);
      else signal(frame);
      this.cursor = Math.max(this.cursor, id); // showing it may have moved the cursor further
    }
  }

  /** @param {Frame} frame */
  async #show(frame) {
    try {
      await this.#feed.write(frame);
    } catch (error) {
      this.#watch.poison?.(error, frame);
      await this.#startOver(`event ${frame.id} could not be shown (${error})`);
    }
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
 * Something that a part of the page acts on by itself.
 * @param {Frame} frame
 */
function signal(frame) {
  if (frame.event !== "signal") return;
  document.dispatchEvent(new CustomEvent("beacon:signal", { detail: JSON.parse(frame.data) }));
}
