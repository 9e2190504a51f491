// @ts-check
import { HeldList } from "./pausable_list.js";

/** The list of commands: phases come by the stream into their rows; a command that is new here waits while one reads. */

const JITTER_MS = 500;

/** @type {import("./pausable_list.js").Kind} */
const COMMANDS = {
  link: "commands-new",
  list: (root) => root.querySelector("#commands"),
  wants: (region) => region.startsWith("commands"),
  isLater: (list) => list.hasAttribute("data-later"),
  newOn: (shown, fresh) => (COMMANDS.isLater(shown) ? Number(fresh.dataset.head !== shown.dataset.head) : rows(fresh).filter((row) => !rows(shown).includes(row)).length),
};

const held = new HeldList(COMMANDS, JITTER_MS);
document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  const list = COMMANDS.list(document);
  for (const { fragment } of tasks) {
    const told = /** @type {HTMLElement | null} */ (fragment.querySelector("[data-command]"));
    if (told && list && !rows(list).includes(told.dataset.command ?? "")) held.soon();
  }
});

/** @param {Element} list */
function rows(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-row]"));
  return [...found].map((row) => row.dataset.row ?? "");
}
