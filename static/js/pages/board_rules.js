// @ts-check
/** Which services match the filter of the dashboard, and how the page says that others do now. Pure. */

/**
 * `app/web/dashboard/board.py` decides the same when it renders the page.
 * @param {string} status
 * @param {boolean} failing  whether its failed jobs need attention
 * @param {string} wanted  the filter by state; empty for all
 */
export function matchesState(status, failing, wanted) {
  if (wanted === "wrong") return failing || status === "discrepancy" || status === "stale";
  if (wanted === "failing") return failing;
  return wanted === "" || status === wanted;
}

/** @typedef {{ status: string, failing: boolean, hidden: boolean, nearly: boolean }} Service  `nearly`: it would match with another state */

/**
 * What differs from the services as the page arranged them.
 * @param {ReadonlyMap<string, Service>} placed  by id, as they were then
 * @param {ReadonlyMap<string, Service>} now
 * @param {{ wanted: string, byState: boolean }} query  `byState`: the order or the groups follow the state
 */
export function compareBoard(placed, now, { wanted, byState }) {
  const found = { joining: 0, leaving: 0, moving: 0, added: 0 };
  for (const [id, service] of now) {
    const before = placed.get(id);
    const matches = matchesState(service.status, service.failing, wanted);
    if (!before) found.added += 1;
    else if (service.hidden) found.joining += Number(service.nearly && matches);
    else if (!matches) found.leaving += 1;
    else if (byState) found.moving += Number(service.status !== before.status);
  }
  return found;
}

/**
 * The text of the link that arranges the services again; empty if nothing differs.
 * @param {{ joining: number, leaving: number, moving: number, added: number }} differences
 */
export function describeDifferences({ joining, leaving, moving, added }) {
  const parts = [
    joining && `${joining} more ${joining === 1 ? "matches" : "match"}`,
    leaving && `${leaving} no longer ${leaving === 1 ? "matches" : "match"}`,
    moving && `${moving} changed state`,
    added && `${added} new`,
  ].filter(Boolean);
  return parts.length > 0 ? `${parts.join(", ")}: update` : "";
}
