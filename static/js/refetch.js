// @ts-check
/**
 * Looks again a little after it was asked to: however often within that time, it looks once; asked while it looks,
 * once more. A look that fails is tried again by the next one who asks.
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
    else this.#timer ??= setTimeout(() => this.now(), Math.random() * this.#spreadMs);
  }

  async now() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = true;
    await this.#look().catch(() => {}); // what is shown stays; the connection's own state says what is wrong
    this.#looking = false;
    if (!this.#again) return;
    this.#again = false;
    this.soon();
  }
}
