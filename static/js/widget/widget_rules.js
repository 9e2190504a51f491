// @ts-check
/** What the widget decides: when to ask for another token, whom to ask, what to say of its freshness. Pure. */

/** A token is renewed when so much of its life is over: its host has time to get another one. */
const RENEW_AT = 0.8;

/**
 * @param {number} handedMs  when the token was handed over
 * @param {number} nowMs
 * @param {number} lifeMs
 */
export function isEnding(handedMs, nowMs, lifeMs) {
  return nowMs - handedMs >= lifeMs * RENEW_AT;
}

/**
 * The origins to ask. A browser that says who is around this page spares the others a complaint in its console.
 * @param {readonly string[]} allowed
 * @param {string | undefined} around
 */
export function askable(allowed, around) {
  return around ? allowed.filter((origin) => origin === around) : allowed;
}

/**
 * How long until the next look.
 * @param {number} pollMs
 * @param {number | undefined} retryAfterMs  what the server has asked for
 */
export function waitMs(pollMs, retryAfterMs) {
  return Math.max(pollMs, retryAfterMs ?? 0);
}
