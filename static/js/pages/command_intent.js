// @ts-check
/**
 * The id of what somebody wants: made when they first press, kept until there is an answer or an end, a reload in between
 * included. Whatever was lost on the way, pressing again is the same command; once it is over, it is another one.
 *
 * @typedef {Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">} IntentStorage
 */

const KEY_PREFIX = "beacon:intent:";
const ID_BYTES = 16;

/**
 * @param {string} key  what is wanted, on what
 * @param {string} [given]  the id that the page itself came with: whoever opened it anew wants it anew
 * @param {IntentStorage} [storage]
 */
export function getCommandId(key, given = "", storage = sessionStorage) {
  const known = given || storage.getItem(KEY_PREFIX + key);
  if (known) return known;
  const created = newId();
  storage.setItem(KEY_PREFIX + key, created);
  return created;
}

/**
 * @param {string} key
 * @param {IntentStorage} [storage]
 */
export function forgetIntent(key, storage = sessionStorage) {
  storage.removeItem(KEY_PREFIX + key);
}

/**
 * The command has been seen to end: an answer that was lost is not waited for any more, whatever page asked.
 * @param {string} id
 * @param {IntentStorage} [storage]
 */
export function forgetFinished(id, storage = sessionStorage) {
  const keys = Array.from({ length: storage.length }, (_, place) => storage.key(place) ?? "");
  for (const key of keys) {
    if (key.startsWith(KEY_PREFIX) && storage.getItem(key) === id) storage.removeItem(key);
  }
}

/** On plain HTTP off localhost there is no randomUUID. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(ID_BYTES))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
