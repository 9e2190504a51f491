// @ts-check
/** Whether somebody is in the middle of something: what holds the focus, a selection or an open dialog is never swapped. */

const OPEN = "dialog[open], details[open], :popover-open";

/** @param {Element} element */
export function inUse(element) {
  return hasFocus(element) || hasSelection(element) || element.matches(OPEN) || element.querySelector(OPEN) !== null || hasTyped(element);
}

/**
 * Somebody who has scrolled into the list, is in it, or has half a search in the box, reads: rows wait.
 * @param {Element} list
 */
export function isReading(list) {
  const bar = document.querySelector(".bar")?.getBoundingClientRect().bottom ?? 0;
  const table = list.closest("table") ?? list;
  return (scrollY > 0 && table.getBoundingClientRect().top < bar) || inUse(list.closest("[data-region]") ?? list);
}

/** @param {Element} element */
function hasFocus(element) {
  const focused = document.activeElement;
  return focused !== null && focused !== document.body && element.contains(focused);
}

/** @param {Element} element */
function hasSelection(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

/** @param {Element} element */
function hasTyped(element) {
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (element.querySelectorAll("input:not([type=hidden])"));
  return [...inputs].some((input) => input.value !== input.defaultValue || input.checked !== input.defaultChecked);
}
