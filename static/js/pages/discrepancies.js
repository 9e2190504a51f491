// @ts-check
import { PausableList } from "./pausable_list.js";

/**
 * The script of the discrepancies page. It reloads the list when a pushed tile has changed its state or findings.
 */

const REFETCH_SPREAD_MS = 500; // with the answer, less than a second

/** The last state and findings of each service. @type {Map<string, string>} */
const lastState = new Map();

/** @type {import("./pausable_list.js").ListOptions} */
const DISCREPANCY_LIST = {
  link: "record-new",
  list: (root) => root.querySelector("#record"),
  includesRegion: (region) => region.startsWith("record"),
  isLaterPage: (list) => list.hasAttribute("data-later"),
  // Later pages get no new rows, and a change of a row is no new row: the head of the list shows both.
  countNew: (shown, fresh) => {
    const entered = DISCREPANCY_LIST.isLaterPage(shown) ? [] : rowIds(fresh).filter((row) => !rowIds(shown).includes(row));
    return Math.max(entered.length, Number(fresh.dataset.head !== shown.dataset.head));
  },
};

const discrepancyList = new PausableList(DISCREPANCY_LIST, REFETCH_SPREAD_MS);
document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  if (tasks.filter(({ fragment }) => hasChanged(fragment)).length > 0) discrepancyList.soon();
});

/** @param {DocumentFragment} fragment */
function hasChanged(fragment) {
  const tile = /** @type {HTMLElement | null} */ (fragment.querySelector(".tile"));
  const service = tile?.dataset.service;
  if (!service) return false;
  const now = `${tile.dataset.state} ${tile.dataset.findings}`;
  const before = lastState.get(service);
  lastState.set(service, now);
  return before !== now; // the first update of a service may be a change
}

/** @param {Element} list */
function rowIds(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-row]"));
  return [...found].map((row) => row.dataset.row ?? "");
}
