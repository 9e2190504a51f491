// @ts-check
/** The tab's title and icon show the state, because most tabs are in the background. */

const name = document.title.replace(/^[●◌] [^·]* · /, "");
const PROBLEM_ICON = '<circle cx="8" cy="8" r="7.5" fill="#d5294f"/><path d="M8 3.5V9m0 2.5v1" stroke="#fff" stroke-width="2"/>';
const OFFLINE_ICON = '<path d="m3.5 3.5 9 9m0-9-9 9" stroke="#8a949c" stroke-width="2.5"/>';
/** @type {string | undefined} */
let originalIcon;
let problemCount = 0;
let offlineWord = "";
let isSilent = false;

/** @param {number} count */
export function setProblemCount(count) {
  problemCount = count;
  update();
}

/** @param {string} word  why the page is not updated; empty if it is */
export function setOffline(word) {
  offlineWord = word;
  update();
}

/** @param {boolean} isUnheard  Beacon is silent */
export function setSilence(isUnheard) {
  isSilent = isUnheard;
  update();
}

function update() {
  const silent = offlineWord || (isSilent ? "no news" : "");
  const title = silent ? `◌ ${silent} · ${name}` : problemCount ? `● ${problemCount} wrong · ${name}` : name;
  if (document.title !== title) document.title = title;
  showIcon(silent ? OFFLINE_ICON : problemCount ? PROBLEM_ICON : null);
}

/** @param {string | null} shapes  null: the page's own icon */
function showIcon(shapes) {
  const link = /** @type {HTMLLinkElement | null} */ (document.querySelector("link[rel=icon]"));
  if (!link) return;
  originalIcon ??= link.href;
  const href = shapes ? iconAddress(shapes) : originalIcon;
  if (link.href !== href) link.href = href;
}

/**
 * As a data URL: without a network an icon could not be fetched.
 * @param {string} shapes
 */
function iconAddress(shapes) {
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${shapes}</svg>`)}`;
}
