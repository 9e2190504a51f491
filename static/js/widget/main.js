// @ts-check
import { localise, tick } from "../ages.js";
import { heardServerTime } from "../clock.js";
import { tokenFrom } from "../bell.js";
import { Refetch } from "../refetch.js";

/**
 * The panel inside another page. On the same site the login session fills it; otherwise the page around it may hand
 * over a token by `postMessage({type: "beacon:widget-token", token})`, which is kept here, in memory, and nowhere else.
 */

const CONTENT = "/widgets/notifications/content";
const EVERY_MS = 10_000;
const origins = (document.body.dataset.origins ?? "").split(" ").filter(Boolean);
const body = /** @type {HTMLElement} */ (document.getElementById("widget-body"));
const shell = /** @type {HTMLElement} */ (body.firstElementChild);

let token = "";
const refetch = new Refetch(look, 0);

/** @param {Record<string, string>} headers */
function withToken(headers) {
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

async function look() {
  const options = { headers: withToken({ Accept: "*/*" }), signal: AbortSignal.timeout(EVERY_MS) };
  const response = await fetch(CONTENT, { cache: "no-store", redirect: "error", ...options });
  heardServerTime(Date.parse(response.headers.get("Date") ?? ""));
  if (response.status === 401 || response.status === 403) signedOut();
  else if (response.ok) show(await response.text());
}

/** A token that has ended is no use: the page around may hand over another one. */
function signedOut() {
  token = "";
  if (!shell.isConnected) body.replaceChildren(shell);
  askForToken();
}

function askForToken() {
  if (window.parent === window) return;
  for (const origin of origins) window.parent.postMessage({ type: "beacon:widget-ready" }, origin);
}

/** @param {string} text */
function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector(".notices");
  if (!(fresh instanceof HTMLElement)) return;
  localise(fresh);
  const focused = body.contains(document.activeElement) ? document.activeElement?.id : "";
  body.replaceChildren(document.adoptNode(fresh));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** @param {SubmitEvent} event */
async function submitted(event) {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const notices = /** @type {HTMLElement | null} */ (body.querySelector(".notices"));
  const headers = withToken({ Accept: "application/json", "X-CSRFToken": notices?.dataset.csrf ?? "" });
  const fields = new URLSearchParams([...new FormData(form, event.submitter)].map(([name, value]) => [name, String(value)]));
  const answer = await fetch(form.getAttribute("action") ?? "", { method: "POST", headers, body: fields, redirect: "error" }).catch(() => null);
  const status = document.getElementById("widget-status");
  if (status) status.textContent = answer?.ok ? "Marked as read." : "That did not reach the server. Try again.";
  await refetch.now();
}

window.addEventListener("message", (event) => {
  const given = tokenFrom(event, origins, window.parent);
  if (given === null || window.parent === window) return;
  token = given;
  refetch.now().catch(() => {});
});
body.addEventListener("submit", (event) => {
  submitted(event).catch(() => {});
});
setInterval(() => {
  if (document.visibilityState === "visible" && !shell.isConnected) refetch.soon();
}, EVERY_MS);
setInterval(() => tick(document), 1_000);
refetch.now().catch(() => {});
