// @ts-check
/** Reloads the page for a new build when it is hidden and nothing would be lost. Loaded when there is one. */

/** One reload per build: behind a proxy, two builds may answer in turn. */
const RELOADED_BUILD_KEY = "beacon-build";

/**
 * @param {string} build
 * @param {typeof import("./status.js").connectionStatus} connectionStatus
 */
export function reloadWhenHidden(build, connectionStatus) {
  const reloadIfHidden = () => {
    if (document.visibilityState !== "hidden" || mustNotReload(connectionStatus) || wasReloadedFor(build)) return;
    sessionStorage.setItem(RELOADED_BUILD_KEY, build);
    location.reload();
  };
  document.addEventListener("visibilitychange", reloadIfHidden);
  reloadIfHidden();
}

/** @param {string} build */
function wasReloadedFor(build) {
  return sessionStorage.getItem(RELOADED_BUILD_KEY) === build;
}

/** Without a server the browser would show its own error page; a paused page must keep its content. */
function mustNotReload(/** @type {typeof import("./status.js").connectionStatus} */ connectionStatus) {
  const { state, paused } = connectionStatus.value;
  return paused || (state !== "connected" && state !== "polling") || hasUnsavedInput();
}

/** Whether a reload would lose something: text, a choice, an open dialog. */
function hasUnsavedInput() {
  if (document.querySelector("dialog[open]")) return true;
  return [...document.querySelectorAll("input, textarea, select")].some((field) => isVisible(field) && isChanged(field));
}

/** Fields of a closed dialog or panel hold no input of the reader. */
function isVisible(/** @type {Element} */ field) {
  return field.getClientRects().length > 0;
}

/** @param {Element} field */
function isChanged(field) {
  if (field instanceof HTMLSelectElement) return [...field.options].some((option) => option.selected !== option.defaultSelected && field.selectedIndex > 0);
  if (field instanceof HTMLTextAreaElement) return field.value !== field.defaultValue;
  if (!(field instanceof HTMLInputElement) || field.type === "hidden") return false;
  return field.value !== field.defaultValue || field.checked !== field.defaultChecked;
}
