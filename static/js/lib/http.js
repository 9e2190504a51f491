// @ts-check
import { heardServerTime, serverNow } from "./server_clock.js";

/** A timer that is set to more than 24 days fires at once. */
const LONGEST_WAIT_MS = 24 * 3_600_000;

/** An answer that is not what was asked for. `reason` is the problem's own member, or a word for what came. */
export class Refused extends Error {
  /**
   * @param {string} reason
   * @param {number} status
   * @param {number} [retryAfterMs]
   */
  constructor(reason, status, retryAfterMs) {
    super(status ? `${status} ${reason}` : reason);
    this.reason = reason;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The answer is for another login than the one that this page was made for: none of it may be shown here. */
export class OtherUser extends Error {
  constructor() {
    super("somebody else is signed in");
  }
}

/**
 * A successful answer of the wanted type, or `Refused`; a redirect (to a login page, a captive portal) is an error.
 * @param {string} address
 * @param {RequestInit} options
 * @param {string} type
 */
export async function fetchChecked(address, options, type) {
  const response = await fetch(address, { cache: "no-store", credentials: "same-origin", redirect: "manual", ...options });
  heardServerTime(Date.parse(response.headers.get("Date") ?? ""));
  if (response.type === "opaqueredirect") throw new Refused("redirect", 0);
  if (!response.ok) throw await refusal(response);
  if (!(response.headers.get("Content-Type") ?? "").startsWith(type)) {
    throw new Refused("wrong-type", response.status);
  }
  return response;
}

/** @param {Response} response */
async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(String(problem.reason ?? "refused"), response.status, retryAfter(response.headers.get("Retry-After")));
}

/**
 * Seconds, or a date as some proxies write it.
 * @param {string | null} text
 * @returns {number | undefined}  milliseconds
 */
export function retryAfter(text) {
  if (!text) return undefined;
  const ms = Number.isFinite(Number(text)) ? Number(text) * 1_000 : Date.parse(text) - serverNow();
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, LONGEST_WAIT_MS) : undefined;
}
