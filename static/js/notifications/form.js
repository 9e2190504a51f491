// @ts-check
import { fetchChecked } from "../lib/http.js";

/**
 * Sends a form with this page's session; the answer is JSON.
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
export function sendForm(form, submitter) {
  const csrf = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
  const headers = { "X-CSRFToken": csrf, Accept: "application/json" };
  const options = { method: "POST", headers, body: formBody(form, submitter), signal: AbortSignal.timeout(10_000) };
  return fetchChecked(form.action, options, "application/json");
}

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
function formBody(form, submitter) {
  const data = new FormData(form, submitter);
  return new URLSearchParams([...data].map(([name, value]) => [name, String(value)]));
}
