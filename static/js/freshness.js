// @ts-check
/** Whether a region may still be believed. Pure. */

/**
 * @param {{ connection: string, held: boolean, aged: boolean }} region  `held`: a change waits until the reader lets go
 * @returns {boolean}
 */
export function isStale({ connection, held, aged }) {
  return held || aged || connection === "offline" || connection === "none";
}
