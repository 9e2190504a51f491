// @ts-check
import { PausableList } from "./pausable_list.js";

/** The list of commands: phases are pushed into their rows; new commands wait while the reader uses the list. */

const REFETCH_SPREAD_MS = 500;

/** @type {import("./pausable_list.js").ListOptions} */
const COMMAND_LIST = {
  link: "commands-new",
  list: (root) => root.querySelector("#commands"),
  includesRegion: (region) => region.startsWith("commands"),
  isLaterPage: (list) => list.hasAttribute("data-later"),
  countNew: (shown, fresh) => (COMMAND_LIST.isLaterPage(shown) ? Number(fresh.dataset.head !== shown.dataset.head) : rowIds(fresh).filter((row) => !rowIds(shown).includes(row)).length),
};

const commandList = new PausableList(COMMAND_LIST, REFETCH_SPREAD_MS);
document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  const list = COMMAND_LIST.list(document);
  for (const { fragment } of tasks) {
    const update = /** @type {HTMLElement | null} */ (fragment.querySelector("[data-command]"));
    if (update && list && !rowIds(list).includes(update.dataset.command ?? "")) commandList.soon();
  }
});

/** @param {Element} list */
function rowIds(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-row]"));
  return [...found].map((row) => row.dataset.row ?? "");
}
