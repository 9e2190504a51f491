// @ts-check
import { Refetch } from "../lib/refetch.js";
import { isPaused, reload } from "./region_reload.js";
import { isReading, watchFocus } from "../interaction/focus.js";

/**
 * The list of a page that takes what is new by itself. While somebody reads it, it says how many wait; so it does on its
 * later pages, where new ones would push everything along.
 *
 * @typedef {object} Kind
 * @property {string} link  the id of the link that says how many wait
 * @property {(root: ParentNode) => HTMLElement | null} list
 * @property {(region: string) => boolean} wants  the regions that are loaded again with the list
 * @property {(list: HTMLElement) => boolean} isLater
 * @property {(shown: HTMLElement, fresh: HTMLElement) => number} newOn
 */

export class HeldList {
  #kind;
  #refetch;
  #held = false;
  #forced = false;

  /**
   * @param {Kind} kind
   * @param {number} spreadMs
   */
  constructor(kind, spreadMs) {
    this.#kind = kind;
    this.#refetch = new Refetch(() => this.#look(), spreadMs);
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
    return document.getElementById(this.#kind.link);
  }

  #release() {
    if (!this.#held || this.#mustHold()) return;
    this.#held = false;
    this.#refetch.now().catch(() => {});
  }

  async #look() {
    let count = 0;
    await reload((page) => {
      const [shown, fresh] = [this.#kind.list(document), this.#kind.list(page)];
      count = shown && fresh ? this.#kind.newOn(shown, fresh) : 0;
      this.#held = this.#mustHold() && !this.#forced;
      this.#forced = false;
    }, (name) => this.#kind.wants(name) && !this.#held);
    this.#show(this.#held ? count : 0);
  }

  #mustHold() {
    const shown = this.#kind.list(document);
    return shown !== null && (isPaused() || this.#isLater() || isReading(shown));
  }

  #isLater() {
    const shown = this.#kind.list(document);
    return shown !== null && this.#kind.isLater(shown);
  }

  /** @param {number} count */
  #show(count) {
    const link = this.#link;
    if (!link) return;
    link.hidden = count === 0;
    link.textContent = `${count.toLocaleString("en-GB")} new`;
  }
}
