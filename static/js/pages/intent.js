// @ts-check
/**
 * The id of what somebody wants: made when they first press, kept until there is an answer, a reload in between
 * included. Whatever was lost on the way, pressing again is the same command.
 */

const PREFIX = "beacon:intent:";
const BYTES = 16;

/**
 * @param {string} key  what is wanted, on what
 * @param {string} [given]  the id that the page itself came with
 */
export function intentId(key, given = "") {
  const known = sessionStorage.getItem(PREFIX + key);
  if (known) return known;
  const made = given || newId();
  sessionStorage.setItem(PREFIX + key, made);
  return made;
}

/** @param {string} key */
export function answered(key) {
  sessionStorage.removeItem(PREFIX + key);
}

/** On plain HTTP off localhost there is no randomUUID. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(BYTES))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
