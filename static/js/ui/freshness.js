// @ts-check
/** Decides whether a page's content is still fresh, and who is silent: the service or Beacon. Pure. */

/** How late a heartbeat may be. */
const HEARTBEAT_GRACE_MS = 5_000;

/** What was missed comes later than Beacon's first word after a silence, or after the page stood still. */
const CATCH_UP_MS = 10_000;
const CATCH_UP_GRACE_MS = 1_000;

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
 * Until when services are judged: Beacon's last answer, but after a gap the moment before it, while the page catches up.
 * @param {{ at: number, gapAt: number }} before  the previous verdict; `gapAt` is 0 unless the page catches up
 * @param {number} heardAt
 * @param {number} now
 * @param {number} usualMs  between two signs of life
 */
export function judgeUntil({ at, gapAt }, heardAt, now, usualMs) {
  const since = gapAt || now;
  const isBehind = heardAt - at > usualMs + CATCH_UP_GRACE_MS && now - since < CATCH_UP_MS;
  return isBehind ? { at, gapAt: since } : { at: heardAt, gapAt: 0 };
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
