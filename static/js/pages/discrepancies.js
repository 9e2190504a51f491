// @ts-check
import { HeldList } from "./pausable_list.js";

/**
 * The page of discrepancies: its own script. What it looks for is a tile that changed its state, or what is wrong with it: the stream
 * brings those to every page.
 */

const JITTER_MS = 500; // with the answer, less than a second

/** What the stream said last of each service. @type {Map<string, string>} */
const said = new Map();

/** @type {import("./pausable_list.js").Kind} */
const RECORD = {
  link: "record-new",
  list: (root) => root.querySelector("#record"),
  wants: (region) => region.startsWith("record"),
  isLater: (list) => list.hasAttribute("data-later"),
  // A later page holds nothing new itself, and what goes on with a row is no row of its own: the record's head tells of both.
  newOn: (shown, fresh) => {
    const entered = RECORD.isLater(shown) ? [] : rows(fresh).filter((row) => !rows(shown).includes(row));
    return Math.max(entered.length, Number(fresh.dataset.head !== shown.dataset.head));
  },
};

const held = new HeldList(RECORD, JITTER_MS);
document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  if (tasks.filter(({ fragment }) => isNews(fragment)).length > 0) held.soon();
});

/** @param {DocumentFragment} fragment */
function isNews(fragment) {
  const tile = /** @type {HTMLElement | null} */ (fragment.querySelector(".tile"));
  const service = tile?.dataset.service;
  if (!service) return false;
  const now = `${tile.dataset.state} ${tile.dataset.findings}`;
  const before = said.get(service);
  said.set(service, now);
  return before !== now; // the first word of a service may be news: it is looked at once
}

/** @param {Element} list */
function rows(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-row]"));
  return [...found].map((row) => row.dataset.row ?? "");
}
