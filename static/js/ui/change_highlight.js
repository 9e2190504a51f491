// @ts-check
/** A figure that has changed is tinted for a second; nothing moves. */

const SHOWN_MS = 1_000;
const TINT = { backgroundColor: "var(--tint)" };

/**
 * Called before a swap; what it brings is on the screen with the next frame.
 * @param {DocumentFragment} fragment
 */
export function noteFigures(fragment) {
  if (document.hidden) return;
  const changed = [...fragment.querySelectorAll(".tile[id]")].flatMap(changedIn);
  if (changed.length > 0) requestAnimationFrame(() => changed.forEach(tint));
}

/**
 * @param {Element} fresh
 * @returns {string[]} selectors of what will show another figure
 */
function changedIn(fresh) {
  const shown = document.getElementById(fresh.id);
  if (!shown) return [];
  const places = [...fresh.querySelectorAll("[data-figure]")].map((figure) => `[data-figure="${CSS.escape(figure.getAttribute("data-figure") ?? "")}"] dd span`);
  return places.filter((place) => differ(shown.querySelector(place), fresh.querySelector(place))).map((place) => `#${CSS.escape(fresh.id)} ${place}`);
}

/**
 * @param {Element | null} one
 * @param {Element | null} other
 */
function differ(one, other) {
  return one !== null && one.textContent !== other?.textContent;
}

/** @param {string} place */
function tint(place) {
  document.querySelector(place)?.animate([TINT, TINT], SHOWN_MS);
}
