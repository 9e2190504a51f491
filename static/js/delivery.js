// @ts-check
/**
 * From frames to the screen: each event once and in order, whichever way it came. Stream and poll may overlap
 * for a moment; both begin at the cursor and leave nothing out, so that the higher id always wins.
 */
export class Delivery {
  #feed;
  #refetch;
  #note;
  /** @type {Promise<void>} */
  #work = Promise.resolve();

  /**
   * @param {number} cursor  the id up to which the page shows everything
   * @param {{ write: (frame: import("./sse.js").Frame) => Promise<void> }} feed
   * @param {() => Promise<number>} refetch  loads the page's regions again and returns their cursor
   * @param {(message: string) => void} note
   */
  constructor(cursor, feed, refetch, note) {
    this.cursor = cursor;
    this.#feed = feed;
    this.#refetch = refetch;
    this.#note = note;
  }

  /**
   * Takes a frame that carries an id; resolves when it is on the screen.
   * @param {import("./sse.js").Frame} frame
   * @returns {Promise<void>}
   */
  take(frame) {
    const turn = this.#work.then(() => this.#deliver(frame));
    this.#work = turn.catch(() => {}); // whoever sent it hears of it; the next one has its own turn
    return turn;
  }

  /** @param {import("./sse.js").Frame} frame */
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

  /** @param {import("./sse.js").Frame} frame */
  async #show(frame) {
    try {
      await this.#feed.write(frame);
    } catch (error) {
      await this.#startOver(`event ${frame.id} could not be shown (${error})`);
    }
  }

  /**
   * Frames wait meanwhile: one that came between the page's answer and its swap would be lost from the screen.
   * @param {string} why
   */
  async #startOver(why) {
    this.#note(`${why}: loading the page's regions again`);
    this.cursor = await this.#refetch();
  }
}

/**
 * Something that a part of the page acts on by itself.
 * @param {import("./sse.js").Frame} frame
 */
function signal(frame) {
  if (frame.event !== "signal") return;
  document.dispatchEvent(new CustomEvent("beacon:signal", { detail: JSON.parse(frame.data) }));
}
