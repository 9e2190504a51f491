// @ts-check
/** Decides whether a page's content is still fresh, and who is silent: the service or Beacon. Pure. */

/** How late a heartbeat may be. */
const HEARTBEAT_GRACE_MS = 5_000;

/**
 * @param {{ connection: string, held: boolean, aged: boolean, unheard: boolean }} region  `held`: a change waits until
 *   the reader has left it; `unheard`: Beacon is silent
 * @returns {boolean}
 */
export function isStale({ connection, held, aged, unheard }) {
  return held || aged || unheard || connection === "offline" || connection === "none";
}

/**
 * The age of a check at Beacon's last answer: time that Beacon was silent since says nothing about the service.
 * @param {number} checkedAt
 * @param {number} heardAt
 */
export function ageAtLastContact(checkedAt, heardAt) {
  return Math.max(0, heardAt - checkedAt);
}

/**
 * Whether Beacon has been silent for longer than is normal.
 * @param {{ state: string, heardAt: number, now: number, heartbeatMs: number, pollMs: number }} connection
 * @returns {boolean}
 */
export function isSilent({ state, heardAt, now, heartbeatMs, pollMs }) {
  const usual = state === "connected" ? heartbeatMs : state === "polling" ? pollMs : Math.min(pollMs, heartbeatMs);
  return state === "offline" || now - heardAt > usual + HEARTBEAT_GRACE_MS;
}
