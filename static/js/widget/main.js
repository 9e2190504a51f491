// @ts-check
import { localise, tick } from "../ui/ages.js";
import { serverNow } from "../lib/server_clock.js";
import { fetchChecked, ResponseError } from "../lib/http.js";
import { Refetch } from "../lib/refetch.js";
import { originsToAsk, mustRenew, nextPollDelay, readWidgetToken } from "./widget_rules.js";
import { unreadText } from "../notifications/bell.js";
import { showFailure, showChecked, hideFreshness } from "./freshness_line.js";

/**
 * The notification panel inside another page. On the same site the login session fills it; otherwise the embedding page may
 * pass a token by `postMessage({type: "beacon:widget-token", token})`, which is kept in memory only. It polls, because a
 * widget's token opens no stream; so it says when it was last updated, and if Beacon cannot be reached.
 */

const TITLE = document.title;
const CONTENT = "/widgets/notifications/content";
const TIMEOUT_MS = 10_000;
const page = document.body.dataset;
const pollMs = Number(page.pollS) * 1_000;
const lifeMs = Number(page.tokenS) * 1_000;
const origins = (page.origins ?? "").split(" ").filter(Boolean);
const body = /** @type {HTMLElement} */ (document.getElementById("widget-body"));
const shell = /** @type {HTMLElement} */ (body.firstElementChild);

let token = "";
let tokenReceivedAt = 0;
let shown = "";
/** Of the content that is shown; the server answers 304 while it is still the same. */
let etag = "";
let isSignedOut = false;
/** @type {number | undefined} */
let retryAfterMs;
const refetch = new Refetch(load, 0);

/** @param {Record<string, string>} headers */
function withToken(headers) {
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

async function load() {
  const used = token;
  try {
    const headers = withToken({ Accept: "*/*", ...(etag && { "If-None-Match": etag }) });
    const response = await fetchChecked(CONTENT, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) }, "text/html");
    const text = await response.text();
    if (used === token) show(text, response.headers.get("ETag") ?? "");
  } catch (error) {
    if (used === token) onError(error);
  }
}

/** @param {unknown} error */
function onError(error) {
  if (error instanceof ResponseError && error.status === 304) {
    retryAfterMs = undefined;
    showChecked(serverNow());
    return;
  }
  retryAfterMs = error instanceof ResponseError ? error.retryAfterMs : undefined;
  if (error instanceof ResponseError && (error.status === 401 || error.status === 403)) onSignedOut();
  else showFailure();
}

/** The token has expired: removes its content and requests another token from the embedding page. */
function onSignedOut() {
  token = shown = etag = "";
  showUnread(0);
  isSignedOut = true;
  hideFreshness();
  if (!shell.isConnected) body.replaceChildren(shell);
  requestToken();
}

function requestToken() {
  if (window.parent === window) return;
  const addressees = originsToAsk(origins, location.ancestorOrigins?.[0]);
  for (const origin of addressees) window.parent.postMessage({ type: "beacon:widget-ready" }, origin);
}

/** @param {number} unread */
function showUnread(unread) {
  const place = /** @type {HTMLElement} */ (document.getElementById("widget-count"));
  place.hidden = unread === 0;
  place.textContent = unread === 0 ? "" : `${unreadText(unread)} unread`;
  document.title = unread === 0 ? TITLE : `(${unreadText(unread)}) ${TITLE}`;
}

/**
 * @param {string} text
 * @param {string} version
 */
function show(text, version) {
  retryAfterMs = undefined;
  isSignedOut = false;
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector(".notices");
  if (!(fresh instanceof HTMLElement)) return;
  const content = fresh.innerHTML;
  if (content !== shown && hasSelection()) return; // keep a selection that is being copied
  if (content === shown) updateCsrf(fresh);
  else replaceContent(fresh);
  shown = content;
  etag = version;
  showUnread(Number(fresh.dataset.unread));
  showChecked(serverNow());
}

/**
 * The content is unchanged, so the focus stays; but the session, and its CSRF token, may be new.
 * @param {HTMLElement} fresh
 */
function updateCsrf(fresh) {
  const notices = /** @type {HTMLElement | null} */ (body.querySelector(".notices"));
  if (notices) notices.dataset.csrf = fresh.dataset.csrf ?? "";
}

/** @param {HTMLElement} fresh */
function replaceContent(fresh) {
  const hadFocus = body.contains(document.activeElement);
  const focused = hadFocus ? document.activeElement?.id : "";
  localise(fresh);
  body.replaceChildren(document.adoptNode(fresh));
  if (!hadFocus) return;
  const place = focused ? document.getElementById(focused) : null;
  (place && !place.matches(":disabled") ? place : body).focus({ preventScroll: true });
}

function hasSelection() {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(body, true);
}

/** @param {SubmitEvent} event */
async function onSubmit(event) {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const notices = /** @type {HTMLElement | null} */ (body.querySelector(".notices"));
  const headers = withToken({ Accept: "application/json", "X-CSRFToken": notices?.dataset.csrf ?? "" });
  const fields = new URLSearchParams([...new FormData(form, event.submitter)].map(([name, value]) => [name, String(value)]));
  const options = { method: "POST", headers, body: fields, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const words = await fetchChecked(form.action, options, "application/json")
    .then(() => "Marked as read.", () => "That did not reach the server. Try again.");
  announce(words);
  await refetch.now();
}

/** @param {string} words */
function announce(words) {
  /** @type {HTMLElement} */ (document.getElementById("widget-status")).textContent = words;
}

/** After a rejection it requests a token instead of polling: the embedding page may be ready now. */
async function poll() {
  if (document.visibilityState === "visible") {
    if (isSignedOut) requestToken();
    else await refetch.now();
    if (token && mustRenew(tokenReceivedAt, Date.now(), lifeMs)) requestToken();
  }
  setTimeout(() => poll().catch(() => {}), nextPollDelay(pollMs, retryAfterMs));
}

window.addEventListener("message", (event) => {
  const newToken = readWidgetToken(event, origins, window.parent);
  if (newToken === null || newToken === token || window.parent === window) return;
  token = newToken;
  tokenReceivedAt = Date.now();
  refetch.now().catch(() => {});
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") refetch.now().catch(() => {}); // perhaps the user has just logged in
});
body.addEventListener("submit", (event) => {
  onSubmit(event).catch(() => {});
});
setInterval(() => tick(document), 1_000);
poll().catch(() => {});
