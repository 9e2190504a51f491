// @ts-check
/** Keeps lists at the length of their page; rows that are removed are still in the log. */
export function trimLists() {
  for (const list of document.querySelectorAll("[data-keep]")) {
    const keep = Number(/** @type {HTMLElement} */ (list).dataset.keep);
    const rows = list.querySelectorAll(":scope > [data-id]");
    for (const row of [...rows].slice(keep)) row.remove();
  }
}
