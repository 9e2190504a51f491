// @ts-check
/** Whether what a page shows may still be believed, and whose silence it is: the service's or Beacon's. Pure. */

/** So much later than it should, a heartbeat may come. */
const HEARTBEAT_GRACE_MS = 5_000;

/**
 * @param {{ connection: string, held: boolean, aged: boolean, unheard: boolean }} region  `held`: a change waits until
 *   the reader lets go; `unheard`: nothing is heard from Beacon
 * @returns {boolean}
 */
export function isStale({ connection, held, aged, unheard }) {
  return held || aged || unheard || connection === "offline" || connection === "none";
}

/**
 * How old a check was when Beacon was heard last: what has not been heard since then says nothing of the service.
 * @param {number} checkedAt
 * @param {number} heardAt
 */
export function ageAtLastContact(checkedAt, heardAt) {
  return Math.max(0, heardAt - checkedAt);
}

/**
 * Whether Beacon has been silent for longer than it can be when all is well.
 * @param {{ state: string, heardAt: number, now: number, heartbeatMs: number, pollMs: number }} connection
 * @returns {boolean}
 */
export function isSilent({ state, heardAt, now, heartbeatMs, pollMs }) {
  const usual = state === "connected" ? heartbeatMs : state === "polling" ? pollMs : Math.min(pollMs, heartbeatMs);
  return state === "offline" || now - heardAt > usual + HEARTBEAT_GRACE_MS;
}
