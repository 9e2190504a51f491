// @ts-check
/** Pure decisions about notifications; panel.js and the page of notifications act on them. */

/** @param {number} unread */
export function unreadText(unread) {
  if (!(unread > 0)) return "";
  return unread > 99 ? "99+" : String(unread);
}

/**
 * The ids of notifications that are newer than the page and were not announced yet.
 * @param {ReadonlySet<string>} said
 * @param {{ id: string, at: string }[]} items
 * @param {string} since
 */
export function newIds(said, items, since) {
  return items.filter(({ id, at }) => at > since && !said.has(id)).map(({ id }) => id);
}

/**
 * How many ids come before the first one that is already shown; those are new, whatever has changed below.
 * @param {ReadonlySet<string>} shown
 * @param {string[]} fresh  newest first
 */
export function countLeading(shown, fresh) {
  const known = fresh.findIndex((id) => shown.has(id));
  return known < 0 ? fresh.length : known;
}
