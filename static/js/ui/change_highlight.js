// @ts-check
/** Highlights a changed figure for a second, without moving anything. */

const HIGHLIGHT_MS = 1_000;
const TINT = { backgroundColor: "var(--tint)" };

/**
 * Called before a swap, whose content is on the screen with the next animation frame.
 * @param {DocumentFragment} fragment
 */
export function highlightChanges(fragment) {
  if (document.hidden) return;
  const changed = [...fragment.querySelectorAll(".tile[id]")].flatMap(changedFigures);
  if (changed.length > 0) requestAnimationFrame(() => changed.forEach(highlight));
}

/**
 * @param {Element} fresh
 * @returns {string[]} selectors of the figures that will change
 */
function changedFigures(fresh) {
  const shown = document.getElementById(fresh.id);
  if (!shown) return [];
  const places = [...fresh.querySelectorAll("[data-figure]")].map((figure) => `[data-figure="${CSS.escape(figure.getAttribute("data-figure") ?? "")}"] dd span`);
  return places.filter((place) => isChanged(shown.querySelector(place), fresh.querySelector(place))).map((place) => `#${CSS.escape(fresh.id)} ${place}`);
}

/**
 * @param {Element | null} one
 * @param {Element | null} other
 */
function isChanged(one, other) {
  return one !== null && one.textContent !== other?.textContent;
}

/** @param {string} place */
function highlight(place) {
  document.querySelector(place)?.animate([TINT, TINT], HIGHLIGHT_MS);
}
