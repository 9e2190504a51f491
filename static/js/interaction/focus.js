// @ts-check
/** Whether the reader is using an element: what has the focus, a selection or an open dialog is never swapped. */

const OPEN_ELEMENTS = "dialog[open], details[open], :popover-open";

/** @param {Element} element */
export function isInUse(element) {
  return hasFocus(element) || hasSelection(element) || element.matches(OPEN_ELEMENTS) || element.querySelector(OPEN_ELEMENTS) !== null || hasTyped(element);
}

/**
 * The reader has scrolled into the list, is using it, or has typed half a search: new rows wait.
 * @param {Element} list
 */
export function isReading(list) {
  return isScrolledInto(list.closest("table") ?? list) || isInUse(list.closest("[data-region]") ?? list);
}

/**
 * Reading a position or the selection forces a layout of the whole page, which is most of the work for each event of a busy
 * stream. So both are remembered until the reader scrolls or selects, or for a second.
 */
const CHECK_INTERVAL_MS = 1_000;
let lastCheck = { at: -Infinity, into: false };
let hasSelectedText = false;

export function watchFocus() {
  document.addEventListener("scroll", () => { lastCheck = { at: -Infinity, into: false }; }, { passive: true });
  document.addEventListener("selectionchange", () => { hasSelectedText = getSelection()?.isCollapsed === false; });
}

/** @param {Element} table */
function isScrolledInto(table) {
  const now = performance.now();
  if (now - lastCheck.at < CHECK_INTERVAL_MS) return lastCheck.into;
  const bar = document.querySelector(".bar")?.getBoundingClientRect().bottom ?? 0;
  lastCheck = { at: now, into: scrollY > 0 && table.getBoundingClientRect().top < bar };
  return lastCheck.into;
}

/** @param {Element} element */
function hasFocus(element) {
  const focused = document.activeElement;
  return focused !== null && focused !== document.body && element.contains(focused);
}

/** @param {Element} element */
function hasSelection(element) {
  return hasSelectedText && getSelection()?.containsNode(element, true) === true;
}

/** @param {Element} element */
function hasTyped(element) {
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (element.querySelectorAll("input:not([type=hidden])"));
  return [...inputs].some((input) => input.value !== input.defaultValue || input.checked !== input.defaultChecked);
}
