// @ts-check
/**
 * Tells error_boundary.js of an error that the page has caught and goes on after. By an event, because the boundary is a script
 * of its own, and app.js would hold a second copy of its reports.
 * @param {unknown} error
 * @param {"stream" | "swap"} where
 */
export function reportFailure(error, where) {
  document.dispatchEvent(new CustomEvent("beacon:caught-error", { detail: { error, where } }));
}
