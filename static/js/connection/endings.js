// @ts-check
import { DifferentUserError, ResponseError } from "../lib/http.js";
import { StreamEnded } from "./stream.js";

/**
 * Translates the error that ended a stream or a poll into an event of the policy. Pure.
 *
 * @typedef {import("./policy.js").ConnectionEvent} ConnectionEvent
 */

/** The server said `bye`: it closes the stream, for this reason. */
export class StreamBye extends Error {
  /**
   * @param {string} reason
   * @param {number | null} retryMs
   */
  constructor(reason, retryMs) {
    super(`bye: ${reason}`);
    this.reason = reason;
    this.retryMs = retryMs;
  }
}

/**
 * @param {unknown} error
 * @returns {ConnectionEvent}
 */
export function streamEndEvent(error) {
  if (error instanceof DifferentUserError) return { kind: "other-user" };
  if (error instanceof StreamBye) return { kind: "bye", reason: error.reason, retryMs: error.retryMs };
  if (error instanceof StreamEnded) return { kind: "failed", reason: error.reason };
  if (!(error instanceof ResponseError)) return { kind: "failed", reason: "lost" };
  if (error.status === 401) return { kind: "signed-out" };
  if (isFlagOff(error)) return { kind: "flag-off" };
  const reason = error.reason === "redirect" ? "wrong-type" : ["wrong-type", "gateway"].includes(error.reason) ? error.reason : "refused";
  return { kind: "failed", reason, retryAfterMs: error.retryAfterMs };
}

/**
 * @param {unknown} error
 * @returns {{ kind: "signed-out" } | { kind: "other-user" } | { kind: "poll-failed", retryAfterMs: number | undefined }}
 */
export function pollEndEvent(error) {
  if (error instanceof DifferentUserError) return { kind: "other-user" };
  if (error instanceof ResponseError && error.status === 401) return { kind: "signed-out" };
  return { kind: "poll-failed", retryAfterMs: error instanceof ResponseError ? error.retryAfterMs : undefined };
}

/**
 * Whether it is listed among the connection's errors. A goodbye, or a flag that is off, is no error.
 * @param {unknown} error
 */
export function isError(error) {
  return !(error instanceof StreamBye) && !isFlagOff(error);
}

/** @param {unknown} error */
function isFlagOff(error) {
  return error instanceof ResponseError && error.status === 403 && error.reason === "flag-off";
}
