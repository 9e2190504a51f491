// @ts-check
import { Refetch } from "../lib/refetch.js";
import { isPaused, reloadRegions } from "./region_reload.js";
import { isReading, watchFocus } from "../interaction/focus.js";

/**
 * A list that reloads itself when there is something new. While the reader uses it, it says how many rows wait; so it does on
 * later pages, where new rows would shift everything.
 *
 * @typedef {object} ListOptions
 * @property {string} link  the id of the link that says how many rows wait
 * @property {(root: ParentNode) => HTMLElement | null} list
 * @property {(region: string) => boolean} includesRegion  the regions that are reloaded with the list
 * @property {(list: HTMLElement) => boolean} isLaterPage
 * @property {(shown: HTMLElement, fresh: HTMLElement) => number} countNew
 */

export class PausableList {
  #options;
  #refetch;
  #isHeld = false;
  #forced = false;

  /**
   * @param {ListOptions} options
   * @param {number} spreadMs
   */
  constructor(options, spreadMs) {
    this.#options = options;
    this.#refetch = new Refetch(() => this.#load(), spreadMs);
    watchFocus();
    this.#link?.addEventListener("click", (event) => {
      if (this.#isLater()) return; // the link leads to the first page
      event.preventDefault();
      this.#forced = true;
      this.#refetch.now().then(() => scrollTo({ top: 0 })).catch(() => {});
    });
    for (const name of ["scroll", "selectionchange", "focusout", "input", "beacon:connection"]) {
      document.addEventListener(name, () => setTimeout(() => this.#release()), { passive: true });
    }
  }

  soon() {
    this.#refetch.soon();
  }

  get #link() {
    return document.getElementById(this.#options.link);
  }

  #release() {
    if (!this.#isHeld || this.#mustHold()) return;
    this.#isHeld = false;
    this.#refetch.now().catch(() => {});
  }

  async #load() {
    let count = 0;
    await reloadRegions((page) => {
      const [shown, fresh] = [this.#options.list(document), this.#options.list(page)];
      count = shown && fresh ? this.#options.countNew(shown, fresh) : 0;
      this.#isHeld = this.#mustHold() && !this.#forced;
      this.#forced = false;
    }, (name) => this.#options.includesRegion(name) && !this.#isHeld);
    this.#showCount(this.#isHeld ? count : 0);
  }

  #mustHold() {
    const shown = this.#options.list(document);
    return shown !== null && (isPaused() || this.#isLater() || isReading(shown));
  }

  #isLater() {
    const shown = this.#options.list(document);
    return shown !== null && this.#options.isLaterPage(shown);
  }

  /** @param {number} count */
  #showCount(count) {
    const link = this.#link;
    if (!link) return;
    link.hidden = count === 0;
    link.textContent = `${count.toLocaleString("en-GB")} new`;
  }
}
