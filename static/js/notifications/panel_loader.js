// @ts-check
import { concernsNotifications, REFETCH_SPREAD_MS } from "./signals.js";
import { removeFlashes, watchFlashes } from "./flash.js";
import { sendForm } from "./form.js";
import { loadAtFirstUse } from "../interaction/first_use.js";
import { fetchChecked } from "../lib/http.js";
import { ownAddress } from "../lib/own_address.js";
import { Refetch } from "../lib/refetch.js";
import { showToast } from "../ui/toast_queue.js";

/** Loads the panel of notifications with its style sheet: at the first use of the page, or when there may be something new. */

const SHEET = ownAddress(`/static/${document.body.dataset.build}/css/pages/panel.css`);

/** @typedef {ReturnType<typeof import("./panel.js").bindPanel>} BoundPanel */

class PanelLoader {
  refetch = new Refetch(async () => (await this.bound()).load(), REFETCH_SPREAD_MS);
  #panel;
  #prepare;
  /** @type {Promise<BoundPanel> | null} */
  #bound = null;

  /**
   * @param {HTMLElement} panel
   * @param {(root: ParentNode) => void} prepare
   */
  constructor(panel, prepare) {
    this.#panel = panel;
    this.#prepare = prepare;
  }

  /** The panel once it works. After a failure the next call tries again. */
  bound() {
    return (this.#bound ??= this.#bind().catch((error) => {
      this.#bound = null;
      throw error;
    }));
  }

  async #bind() {
    const [{ bindPanel }] = await Promise.all([import("./panel.js"), loadSheet()]);
    const refetch = () => this.refetch.now();
    return bindPanel(this.#panel, { prepare: this.#prepare, refetch, fetchChecked, sendForm, removeFlashes, showToast });
  }
}

/**
 * @param {(root: ParentNode) => void} prepare  runs on new content before it is shown
 * @param {(message: string) => void} log
 */
export function startNotifications(prepare, log) {
  watchFlashes(sendForm);
  const panel = document.getElementById("panel");
  if (!panel) return;
  const loader = new PanelLoader(panel, prepare);
  loadAtFirstUse(() => loader.bound(), (error) => log(`notifications: ${error}`));
  document.addEventListener("beacon:signal", (event) => {
    if (concernsNotifications(/** @type {CustomEvent} */ (event).detail)) loader.refetch.soon();
  });
  document.addEventListener("beacon:regions", () => loader.refetch.soon());
  document.addEventListener("click", (event) => {
    const bell = /** @type {Element} */ (event.target).closest("#bell");
    if (!(bell instanceof HTMLAnchorElement) || event.metaKey || event.ctrlKey || event.shiftKey) return; // open the link in a new tab or window
    event.preventDefault();
    loader.bound().then(({ toggle }) => toggle(), () => location.assign(bell.href));
  });
}

/** @returns {Promise<unknown>} */
function loadSheet() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = SHEET;
  return new Promise((resolve, reject) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", () => {
      link.remove();
      reject(new Error("the style sheet of the panel did not load"));
    });
    document.head.append(link);
  });
}
