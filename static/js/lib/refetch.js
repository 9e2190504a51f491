// @ts-check
/** A look that failed is made up for after about so long: no event may come that asks for another one. */
const RETRY_DELAY_MS = 5_000;

/**
 * Looks again a little after it was asked to: however often within that time, it looks once; asked while it looks,
 * once more. A look that fails is tried again, but for one that needs a login first.
 */
export class Refetch {
  #load;
  #spreadMs;
  #loading = false;
  #again = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {() => Promise<void>} load
   * @param {number} spreadMs
   */
  constructor(load, spreadMs) {
    this.#load = load;
    this.#spreadMs = spreadMs;
  }

  soon() {
    if (this.#loading) this.#again = true;
    else this.#schedule(Math.random() * this.#spreadMs);
  }

  async now() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#loading) {
      this.#again = true;
      return;
    }
    this.#loading = true;
    await this.#load().catch((error) => this.#retryLater(error)); // what is shown stays; the connection's own state says what is wrong
    this.#loading = false;
    if (!this.#again) return;
    this.#again = false;
    this.soon();
  }

  /**
   * Told apart by what a `Refused` carries, not by its class: the script of a single page has modules of its own, and what
   * app.js throws is never of the class that they know.
   * @param {{ status?: number, retryAfterMs?: number }} error
   */
  #retryLater({ status, retryAfterMs }) {
    if (status === 401) return;
    this.#schedule(Math.max(retryAfterMs ?? 0, RETRY_DELAY_MS * (0.8 + 0.4 * Math.random())));
  }

  /** @param {number} ms */
  #schedule(ms) {
    this.#timer ??= setTimeout(() => this.now(), ms);
  }
}
