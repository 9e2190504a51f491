// @ts-check
import { isReading, watchUse } from "./focus.js";
import { Waiting } from "./row_queue.js";

/** The bar above the list of changes: new rows wait behind "3 new" while somebody reads, or where rows do not enter. */

const KEEP = 50;

/** @type {Waiting<Element>} */
const waiting = new Waiting(KEEP);

const list = () => document.getElementById("changes");

/**
 * @param {Element} target
 * @returns {boolean} whether rows for it have to wait
 */
export function mustWait(target) {
  return target.id === "changes" && (entersNothing(target) || isReading(target));
}

/** @param {Iterable<Element>} rows */
export function wait(rows) {
  for (const row of rows) {
    const id = Number(/** @type {HTMLElement} */ (row).dataset.id);
    const shown = document.getElementById(row.id);
    if (!shown) waiting.add(id, row);
  }
  show();
}

/** Rows enter by themselves once nobody reads any more. */
export function release() {
  const target = list();
  if (target && waiting.count > 0 && !mustWait(target)) enter(target);
}

/** What the server has just rendered holds everything that waited. */
export function forget() {
  waiting.clear();
  show();
}

export function watchNews() {
  document.addEventListener("click", (event) => {
    const target = list();
    if (!(event.target instanceof Element) || !event.target.closest("#news-link") || !target || entersNothing(target)) return;
    event.preventDefault(); // elsewhere the link loads the page's own address
    enter(target);
    target.closest("section")?.scrollIntoView({ block: "start" });
  });
  watchUse();
  for (const name of ["scroll", "selectionchange", "focusout", "input"]) {
    document.addEventListener(name, () => setTimeout(release), { passive: true });
  }
}

/** @param {Element} target */
function entersNothing(target) {
  return /** @type {HTMLElement} */ (target).dataset.rows === "counted";
}

/** @param {Element} target */
function enter(target) {
  for (const row of waiting.take()) {
    const old = document.getElementById(row.id);
    if (old) old.replaceWith(row);
    else target.insertBefore(row, firstOlder(target, Number(/** @type {HTMLElement} */ (row).dataset.id)));
  }
  show();
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

function show() {
  const link = document.getElementById("news-link");
  if (!link) return;
  link.hidden = waiting.count === 0;
  link.textContent = `${waiting.count.toLocaleString("en-GB")} new`;
}
