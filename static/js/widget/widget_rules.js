// @ts-check
/** What the widget decides: when to ask for another token, whom to ask, what to say of its freshness. Pure. */

/** A token is renewed when so much of its life is over: its host has time to get another one. */
const RENEW_AFTER_SHARE = 0.8;

/**
 * @param {number} handedMs  when the token was handed over
 * @param {number} nowMs
 * @param {number} lifeMs
 */
export function mustRenew(handedMs, nowMs, lifeMs) {
  return nowMs - handedMs >= lifeMs * RENEW_AFTER_SHARE;
}

/**
 * The origins to ask. A browser that says who is around this page spares the others a complaint in its console.
 * @param {readonly string[]} allowed
 * @param {string | undefined} around
 */
export function originsToAsk(allowed, around) {
  return around ? allowed.filter((origin) => origin === around) : allowed;
}

/**
 * How long until the next look.
 * @param {number} pollMs
 * @param {number | undefined} retryAfterMs  what the server has asked for
 */
export function nextPollDelay(pollMs, retryAfterMs) {
  return Math.max(pollMs, retryAfterMs ?? 0);
}
