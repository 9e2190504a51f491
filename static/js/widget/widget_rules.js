// @ts-check
/** The widget's decisions: when to request another token, from whom, and when to poll. Pure. */

/** A token is renewed after this share of its lifetime, so that the host has time to get another one. */
const RENEW_AFTER_SHARE = 0.8;

/**
 * @param {number} handedMs  when the token was received
 * @param {number} nowMs
 * @param {number} lifeMs
 */
export function mustRenew(handedMs, nowMs, lifeMs) {
  return nowMs - handedMs >= lifeMs * RENEW_AFTER_SHARE;
}

/**
 * The origins to request a token from. If the browser names the embedding page, the others need no message, which would
 * log an error in the console.
 * @param {readonly string[]} allowed
 * @param {string | undefined} around
 */
export function originsToAsk(allowed, around) {
  return around ? allowed.filter((origin) => origin === around) : allowed;
}

/**
 * How long until the next poll.
 * @param {number} pollMs
 * @param {number | undefined} retryAfterMs  from the server
 */
export function nextPollDelay(pollMs, retryAfterMs) {
  return Math.max(pollMs, retryAfterMs ?? 0);
}

/**
 * The token in a message from the embedding page, or null. Only the parent window is trusted, and only if its origin is
 * allowed.
 * @param {{ origin: string, source: unknown, data: unknown }} message
 * @param {readonly string[]} origins
 * @param {unknown} parent
 */
export function readWidgetToken(message, origins, parent) {
  if (message.source !== parent || !origins.includes(message.origin)) return null;
  const { type, token } = /** @type {{ type?: unknown, token?: unknown }} */ (message.data ?? {});
  return type === "beacon:widget-token" && typeof token === "string" && token !== "" ? token : null;
}
