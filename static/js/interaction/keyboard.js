// @ts-check
import { nextIndex, findShortcut } from "./shortcuts.js";

/** Single-key shortcuts, and arrow keys in lists. The help dialog turns them off for this browser. */

const STORAGE_KEY = "beacon:keys";
const ARROW_LISTS = "#changes, #strip-rows, #tiles";
const TEXT_FIELDS = "input:not([type=checkbox], [type=radio], [type=button]), textarea, select, [contenteditable]:not([contenteditable=false])";

const HELP = `
  <dialog class="dialog" id="help" aria-labelledby="help-title">
    <h2 id="help-title">Keyboard shortcuts</h2>
    <dl class="keys">
      <div><dt><kbd>/</kbd></dt><dd>Find anything</dd></div>
      <div><dt><kbd>f</kbd></dt><dd>Filter the list of this page</dd></div>
      <div><dt><kbd>n</kbd></dt><dd>Open notifications</dd></div>
      <div><dt><kbd>r</kbd></dt><dd>Pause or resume what moves in this tab</dd></div>
      <div><dt><kbd>?</kbd></dt><dd>Show this help</dd></div>
      <div><dt><kbd>↑</kbd> <kbd>↓</kbd></dt><dd>Step through a list</dd></div>
    </dl>
    <p><label><input type="checkbox" id="help-keys" checked> Use single keys as shortcuts</label></p>
    <form method="dialog" class="dialog-actions"><button class="button" autofocus>Close</button></form>
  </dialog>`;

/** @type {Record<string, () => void>} */
const ACTIONS = {
  search: () => focusBox("find"),
  filter: () => focusBox("q"),
  help: showHelp,
  notifications: () => document.getElementById("bell")?.click(),
  pause: () => void document.dispatchEvent(new CustomEvent("beacon:pause-toggle")),
};

/** @param {readonly Event[]} earlierEvents  keys, and clicks on the opener of the help, from before this module was loaded */
export function watchKeyboard(earlierEvents) {
  document.body.insertAdjacentHTML("beforeend", HELP);
  document.addEventListener("keydown", onKeydown);
  const opener = document.getElementById("help-open");
  const choice = /** @type {HTMLInputElement | null} */ (document.getElementById("help-keys"));
  opener?.addEventListener("click", showHelp);
  if (choice) {
    choice.checked = choice.defaultChecked = areShortcutsOn();
    choice.addEventListener("change", () => localStorage.setItem(STORAGE_KEY, choice.checked ? "on" : "off"));
  }
  for (const event of earlierEvents) {
    if (event instanceof KeyboardEvent) onKeydown(event);
    else if (!document.querySelector("dialog[open]")) showHelp();
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
