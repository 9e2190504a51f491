// @ts-check
import { isReading, watchFocus } from "./focus.js";
import { RowQueue } from "./row_queue.js";

/** The bar above the list of changes: new rows wait behind "3 new" while the reader uses the list, or where rows are only counted. */

const MAX_QUEUED_ROWS = 50;

/** @type {RowQueue<Element>} */
const queue = new RowQueue(MAX_QUEUED_ROWS);

const changeList = () => document.getElementById("changes");

/**
 * @param {Element} target
 * @returns {boolean} whether rows for it have to wait
 */
export function mustQueue(target) {
  return target.id === "changes" && (isCountOnly(target) || isReading(target));
}

/** @param {Iterable<Element>} rows */
export function queueRows(rows) {
  for (const row of rows) {
    const id = Number(/** @type {HTMLElement} */ (row).dataset.id);
    const shown = document.getElementById(row.id);
    if (!shown) queue.add(id, row);
  }
  showCount();
}

/** Inserts the queued rows once the reader has left the list. */
export function releaseRows() {
  const target = changeList();
  if (target && queue.count > 0 && !mustQueue(target)) insertRows(target);
}

/** Drops the queued rows: the server has just rendered the list with all of them. */
export function clearRows() {
  queue.clear();
  showCount();
}

export function watchNewRows() {
  document.addEventListener("click", (event) => {
    const target = changeList();
    if (!(event.target instanceof Element) || !event.target.closest("#news-link") || !target || isCountOnly(target)) return;
    event.preventDefault(); // otherwise the link reloads the page
    insertRows(target);
    target.closest("section")?.scrollIntoView({ block: "start" });
  });
  watchFocus();
  for (const name of ["scroll", "selectionchange", "focusout", "input"]) {
    document.addEventListener(name, () => setTimeout(releaseRows), { passive: true });
  }
}

/** @param {Element} target */
function isCountOnly(target) {
  return /** @type {HTMLElement} */ (target).dataset.rows === "counted";
}

/** @param {Element} target */
function insertRows(target) {
  for (const row of queue.take()) {
    const old = document.getElementById(row.id);
    if (old) old.replaceWith(row);
    else target.insertBefore(row, firstOlder(target, Number(/** @type {HTMLElement} */ (row).dataset.id)));
  }
  showCount();
  document.dispatchEvent(new CustomEvent("beacon:rows"));
}

/**
 * @param {Element} target
 * @param {number} id
 */
function firstOlder(target, id) {
  const rows = /** @type {NodeListOf<HTMLElement>} */ (target.querySelectorAll(":scope > [data-id]"));
  return [...rows].find((row) => Number(row.dataset.id) < id) ?? target.querySelector(":scope > .empty");
}

function showCount() {
  const link = document.getElementById("news-link");
  if (!link) return;
  link.hidden = queue.count === 0;
  link.textContent = `${queue.count.toLocaleString("en-GB")} new`;
}
