// @ts-check
/** A look that failed is made up for after about so long: no event may come that asks for another one. */
const RETRY_MS = 5_000;

/**
 * Looks again a little after it was asked to: however often within that time, it looks once; asked while it looks,
 * once more. A look that fails is tried again, but for one that needs a login first.
 */
export class Refetch {
  #look;
  #spreadMs;
  #looking = false;
  #again = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {() => Promise<void>} look
   * @param {number} spreadMs
   */
  constructor(look, spreadMs) {
    this.#look = look;
    this.#spreadMs = spreadMs;
  }

  soon() {
    if (this.#looking) this.#again = true;
    else this.#after(Math.random() * this.#spreadMs);
  }

  async now() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = true;
    await this.#look().catch((error) => this.#failed(error)); // what is shown stays; the connection's own state says what is wrong
    this.#looking = false;
    if (!this.#again) return;
    this.#again = false;
    this.soon();
  }

  /**
   * Told apart by what a `Refused` carries, not by its class: the script of a single page has modules of its own, and what
   * app.js throws is never of the class that they know.
   * @param {{ status?: number, retryAfterMs?: number }} error
   */
  #failed({ status, retryAfterMs }) {
    if (status === 401) return;
    this.#after(Math.max(retryAfterMs ?? 0, RETRY_MS * (0.8 + 0.4 * Math.random())));
  }

  /** @param {number} ms */
  #after(ms) {
    this.#timer ??= setTimeout(() => this.now(), ms);
  }
}
