// @ts-check
import { nextIndex, findShortcut } from "./shortcuts.js";

/** Single-key shortcuts, and arrow keys in lists. The help dialog turns them off for this browser. */

const STORAGE_KEY = "beacon:keys";
const ARROW_LISTS = "#changes, #strip-rows, #tiles";
const TEXT_FIELDS = "input:not([type=checkbox], [type=radio], [type=button]), textarea, select, [contenteditable]:not([contenteditable=false])";

/** @type {Record<string, () => void>} */
const ACTIONS = {
  search: () => focusBox("find"),
  filter: () => focusBox("q"),
  help: showHelp,
  notifications: () => document.getElementById("bell")?.click(),
  pause: () => void document.dispatchEvent(new CustomEvent("beacon:pause-toggle")),
};

/** @param {KeyboardEvent[]} earlierEvents  from before this module was loaded */
export function watchKeyboard(earlierEvents) {
  document.addEventListener("keydown", onKeydown);
  earlierEvents.forEach(onKeydown);
  const opener = document.getElementById("help-open");
  const choice = /** @type {HTMLInputElement | null} */ (document.getElementById("help-keys"));
  if (opener) {
    opener.hidden = false; // without scripts there is nothing to help with
    opener.addEventListener("click", showHelp);
  }
  if (choice) {
    choice.checked = choice.defaultChecked = areShortcutsOn();
    choice.addEventListener("change", () => localStorage.setItem(STORAGE_KEY, choice.checked ? "on" : "off"));
  }
}

/** @param {KeyboardEvent} event */
function onKeydown(event) {
  if (event.defaultPrevented || event.isComposing) return;
  const target = event.target instanceof Element ? event.target : document.body;
  const typing = target.closest(TEXT_FIELDS) !== null;
  const inDialog = document.querySelector("dialog[open]") !== null;
  const name = findShortcut(event, { typing, inDialog, enabled: areShortcutsOn() });
  if (name) {
    event.preventDefault();
    ACTIONS[name]?.();
  } else if (!typing && !inDialog) moveFocus(event, target);
}

/**
 * @param {KeyboardEvent} event
 * @param {Element} target
 */
function moveFocus(event, target) {
  const rows = [...(target.closest(ARROW_LISTS)?.children ?? [])].filter((row) => row.id && row.checkVisibility());
  const next = nextIndex(event, rows.findIndex((row) => row.contains(target)), rows.length);
  const row = next === null ? undefined : /** @type {HTMLElement | undefined} */ (rows[next]);
  if (!row) return;
  event.preventDefault();
  const link = row.querySelector("a");
  if (!link) row.tabIndex = -1;
  (link ?? row).focus();
}

function areShortcutsOn() {
  return localStorage.getItem(STORAGE_KEY) !== "off";
}

/** @param {string} id  of the search box of the bar, or of the filter that some pages have */
function focusBox(id) {
  /** @type {HTMLInputElement | null} */ (document.getElementById(id))?.select();
}

function showHelp() {
  /** @type {HTMLDialogElement | null} */ (document.getElementById("help"))?.showModal();
}
