// @ts-check
/** Which shortcut a key triggers. Pure. */

/** @type {Record<string, string>} */
const SHORTCUTS = { "/": "search", "?": "help", f: "filter", n: "notifications", r: "pause" };

/** @type {Record<string, number>} */
const ARROW_STEPS = { ArrowDown: 1, ArrowUp: -1 };

/**
 * @typedef {{ key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean }} Key
 * @typedef {{ typing: boolean, inDialog: boolean, enabled: boolean }} KeyContext  `enabled`: single-key shortcuts are on
 */

/**
 * @param {Key} key
 * @param {KeyContext} where
 * @returns {string | null}
 */
export function findShortcut(key, { typing, inDialog, enabled }) {
  if (!enabled || typing || inDialog || hasModifier(key)) return null;
  return SHORTCUTS[key.key] ?? null;
}

/**
 * The index that an arrow key moves to in a list of `length`; null if it moves nowhere.
 * @param {Key} key
 * @param {number} at
 * @param {number} length
 */
export function nextIndex(key, at, length) {
  const step = hasModifier(key) ? undefined : ARROW_STEPS[key.key];
  if (step === undefined || at < 0) return null;
  const next = at + step;
  return next >= 0 && next < length ? next : null;
}

/** @param {Key} key */
function hasModifier({ ctrlKey, metaKey, altKey }) {
  return ctrlKey || metaKey || altKey;
}
