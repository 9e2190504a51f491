// @ts-check
/**
 * The command id of an intent: created with the first press, kept until there is an answer or the command has finished, also
 * over a reload. If an answer was lost, pressing again sends the same command; after its end, a new one.
 *
 * @typedef {Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">} IntentStorage
 */

const KEY_PREFIX = "beacon:intent:";
const ID_BYTES = 16;

/**
 * @param {string} key  names action and target
 * @param {string} [given]  the id that the page came with: a page that is opened again is a new intent
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
 * The command has finished: forgets its intent, whichever page it came from.
 * @param {string} id
 * @param {IntentStorage} [storage]
 */
export function forgetFinished(id, storage = sessionStorage) {
  const keys = Array.from({ length: storage.length }, (_, place) => storage.key(place) ?? "");
  for (const key of keys) {
    if (key.startsWith(KEY_PREFIX) && storage.getItem(key) === id) storage.removeItem(key);
  }
}

/** There is no randomUUID on plain HTTP, except on localhost. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(ID_BYTES))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
