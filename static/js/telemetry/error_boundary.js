// @ts-check
import { reportError } from "./error_report.js";
import { PageHealth } from "./page_health.js";

/** The error boundary: reports every uncaught error to the server and offers to reload a dead page. A script of its own,
 * because it must work even if the others fail to load. */

const pageHealth = new PageHealth();
const root = document.documentElement;

/**
 * @param {unknown} error
 * @param {string} where
 */
function onFailure(error, where) {
  reportError(error, where);
  const isLive = "connection" in root.dataset; // a page without a connection is a plain form and cannot go stale
  const started = root.dataset.connection !== "none";
  if (isLive && pageHealth.recordFailure({ where, started, now: performance.now() })) offerReload();
}

function offerReload() {
  const place = document.getElementById("dead");
  if (place) place.hidden = false;
}

/** @param {Event} event */
function onLoadError(event) {
  if (event.target instanceof HTMLScriptElement) onFailure(new Error(`${new URL(event.target.src).pathname} did not load`), "load");
}

addEventListener("error", (event) => (event instanceof ErrorEvent ? onFailure(event.error ?? event.message, "script") : onLoadError(event)), { capture: true });
addEventListener("unhandledrejection", (event) => onFailure(event.reason, "promise"));
document.addEventListener("beacon:caught-error", (event) => {
  const { error, where } = /** @type {CustomEvent} */ (event).detail;
  reportError(error, where);
});
document.addEventListener("htmx:error", (event) => onFailure(/** @type {CustomEvent} */ (event).detail?.error, "swap"));
