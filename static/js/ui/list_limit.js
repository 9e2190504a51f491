// @ts-check
/** Keeps a list at the length that its page shows: what falls off the end is still in the log. */
export function trimLists() {
  for (const list of document.querySelectorAll("[data-keep]")) {
    const keep = Number(/** @type {HTMLElement} */ (list).dataset.keep);
    const rows = list.querySelectorAll(":scope > [data-id]");
    for (const row of [...rows].slice(keep)) row.remove();
  }
}
