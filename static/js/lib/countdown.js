// @ts-check
/** A timer that can be paused and resumes with the time that was left. A test may pass its own clock. */
export class Countdown {
  #leftMs;
  #done;
  #now;
  #startedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {number} ms
   * @param {() => void} done
   * @param {() => number} [now]
   */
  constructor(ms, done, now = () => Date.now()) {
    this.#leftMs = ms;
    this.#done = done;
    this.#now = now;
  }

  resume() {
    if (this.#timer !== undefined) return;
    this.#startedAt = this.#now();
    this.#timer = setTimeout(this.#done, this.#leftMs);
  }

  pause() {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#leftMs = Math.max(0, this.#leftMs - (this.#now() - this.#startedAt));
  }
}
