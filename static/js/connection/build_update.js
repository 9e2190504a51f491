// @ts-check
import { connectionStatus } from "./status.js";

/** A newer build is taken when nobody looks and nothing would be lost. */

/** One reload for each build: behind a proxy two of them may answer by turns. */
const RELOADED_BUILD_KEY = "beacon-build";

/** @param {string} build */
export function reloadWhenHidden(build) {
  const reloadIfHidden = () => {
    if (document.visibilityState !== "hidden" || mustNotReload() || wasReloadedFor(build)) return;
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

/** A server that is away would leave an error of the browser's own; a pause is there to keep what stands. */
function mustNotReload() {
  const { state, paused } = connectionStatus.value;
  return paused || (state !== "connected" && state !== "polling") || hasUnsavedInput();
}

/** Whether a reload would take something from its reader: text, a choice, an open dialog. */
function hasUnsavedInput() {
  if (document.querySelector("dialog[open]")) return true;
  return [...document.querySelectorAll("input, textarea, select")].some((field) => isVisible(field) && isChanged(field));
}

/** A closed dialog or panel holds nobody's words, only what a script has set. */
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
