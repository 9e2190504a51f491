// @ts-check
/** A failed load is retried after about this long, because perhaps no further event triggers one. */
const RETRY_DELAY_MS = 5_000;

/**
 * Loads something again shortly after it was requested. Requests within that time lead to one load, requests during a load to
 * one more. A failed load is retried, unless it needs a login.
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
    await this.#load().catch((error) => this.#retryLater(error)); // the old content stays; the connection's badge says what is wrong
    this.#loading = false;
    if (!this.#again) return;
    this.#again = false;
    this.soon();
  }

  /**
   * Reads the properties of a `ResponseError` instead of its class: the script of a single page has its own copy of the class,
   * and errors from app.js are not instances of it.
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
