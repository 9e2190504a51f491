// @ts-check
/**
 * The id of what somebody wants: made when they first press, kept until there is an answer or an end, a reload in between
 * included. Whatever was lost on the way, pressing again is the same command; once it is over, it is another one.
 *
 * @typedef {Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">} Kept
 */

const PREFIX = "beacon:intent:";
const BYTES = 16;

/**
 * @param {string} key  what is wanted, on what
 * @param {string} [given]  the id that the page itself came with: whoever opened it anew wants it anew
 * @param {Kept} [kept]
 */
export function intentId(key, given = "", kept = sessionStorage) {
  const known = given || kept.getItem(PREFIX + key);
  if (known) return known;
  const made = newId();
  kept.setItem(PREFIX + key, made);
  return made;
}

/**
 * @param {string} key
 * @param {Kept} [kept]
 */
export function answered(key, kept = sessionStorage) {
  kept.removeItem(PREFIX + key);
}

/**
 * The command has been seen to end: an answer that was lost is not waited for any more, whatever page asked.
 * @param {string} id
 * @param {Kept} [kept]
 */
export function settled(id, kept = sessionStorage) {
  const keys = Array.from({ length: kept.length }, (_, place) => kept.key(place) ?? "");
  for (const key of keys) {
    if (key.startsWith(PREFIX) && kept.getItem(key) === id) kept.removeItem(key);
  }
}

/** On plain HTTP off localhost there is no randomUUID. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(BYTES))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
