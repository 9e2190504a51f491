// @ts-check
import { unreadText, REFETCH_SPREAD_MS, concernsNotifications, newIds } from "./bell.js";
import { removeFlashes, watchFlashes } from "./flash.js";
import { fetchChecked } from "../lib/http.js";
import { showToast } from "../ui/toast_queue.js";
import { Refetch } from "../lib/refetch.js";

/** The bell and its panel. Their content is the user's own: it is refetched when an event says so, never pushed. */

const ADDRESS = "/notifications/panel";
const MAX_ANNOUNCED = 20;

/** @typedef {(root: ParentNode) => void} Prepare */

/** @type {Set<string>} */
const announcedIds = new Set();

/** @param {Prepare} prepare  runs on new content before it is shown */
export function startNotifications(prepare) {
  const panel = document.getElementById("panel");
  const refetch = new Refetch(() => loadPanel(prepare).catch(showLoadError), REFETCH_SPREAD_MS);
  watchFlashes(sendForm);
  if (!panel) return;
  document.addEventListener("beacon:signal", (event) => {
    if (concernsNotifications(/** @type {CustomEvent} */ (event).detail)) refetch.soon();
  });
  document.addEventListener("beacon:regions", () => refetch.soon());
  document.addEventListener("click", (event) => onClick(event, panel, refetch));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden && !event.defaultPrevented) closePanel(panel);
  });
  panel.addEventListener("submit", (event) => onSubmit(event, refetch));
}

/**
 * @param {MouseEvent} event
 * @param {HTMLElement} panel
 * @param {Refetch} refetch
 */
function onClick(event, panel, refetch) {
  const target = /** @type {Element} */ (event.target);
  if (target.closest("#bell")) {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return; // open the link in a new tab or window
    event.preventDefault();
    if (panel.hidden) openPanel(panel, refetch);
    else closePanel(panel);
  } else if (target.closest("#panel-close")) {
    closePanel(panel);
  } else if (!panel.hidden && !panel.contains(target) && target.isConnected && !target.closest(".toasts")) {
    panel.hidden = true; // the focus stays where the reader clicked
    setOpen(false);
  }
}

/**
 * @param {HTMLElement} panel
 * @param {Refetch} refetch
 */
function openPanel(panel, refetch) {
  panel.hidden = false;
  setOpen(true);
  panel.focus({ preventScroll: true });
  refetch.now().catch(() => {});
}

/** @param {HTMLElement} panel */
function closePanel(panel) {
  panel.hidden = true;
  setOpen(false);
  document.getElementById("bell")?.focus({ preventScroll: true });
}

/** @param {boolean} isOpen */
function setOpen(isOpen) {
  document.getElementById("bell")?.toggleAttribute("data-open", isOpen);
}

/** @param {Prepare} prepare */
async function loadPanel(prepare) {
  const options = { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10_000) };
  const response = await fetchChecked(ADDRESS, options, "text/html");
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector(".notices");
  const body = document.getElementById("panel-body");
  if (!(fresh instanceof HTMLElement) || !body) return;
  prepare(fresh);
  showCount(Number(fresh.dataset.unread));
  removeFlashes((fresh.dataset.dismissed ?? "").split(" ").filter(Boolean));
  announceNew(fresh);
  replaceContent(body, fresh);
}

/**
 * A panel with content keeps it.
 * @param {unknown} error
 */
function showLoadError(error) {
  const place = document.querySelector("#panel-body > .empty");
  if (place) place.textContent = "Your notifications cannot be loaded just now. The page goes on trying.";
  throw error;
}

/** @param {number} unread */
function showCount(unread) {
  const bell = document.getElementById("bell");
  const place = document.getElementById("bell-count");
  if (!bell || !place) return;
  bell.toggleAttribute("data-unread", unread > 0);
  const words = document.createElement("span");
  words.className = "visually-hidden";
  words.textContent = " unread";
  place.replaceChildren(unreadText(unread), ...(unread > 0 ? [words] : []));
}

/**
 * Announces new notifications once, whether the panel is open or not.
 * @param {HTMLElement} fresh
 */
function announceNew(fresh) {
  const place = document.getElementById("notices-log");
  const unread = /** @type {HTMLElement[]} */ ([...fresh.querySelectorAll("[data-notice][data-unread]")]);
  const items = unread.map((item) => ({ id: item.dataset.notice ?? "", at: item.querySelector("time")?.dateTime ?? "" }));
  const news = newIds(announcedIds, items, document.body.dataset.now ?? "");
  if (!place || news.length === 0) return;
  for (const id of news.reverse()) {
    announcedIds.add(id);
    const line = document.createElement("p");
    line.textContent = fresh.querySelector(`[data-notice="${CSS.escape(id)}"] .notice-title`)?.textContent?.trim() ?? "";
    place.append(line);
  }
  while (place.children.length > MAX_ANNOUNCED) place.firstElementChild?.remove();
}

/**
 * Keeps open what is open, and the focus where it was.
 * @param {HTMLElement} body
 * @param {HTMLElement} fresh
 */
export function replaceContent(body, fresh) {
  const hadFocus = body.contains(document.activeElement);
  const focused = hadFocus ? document.activeElement?.id : "";
  const open_ = [...body.querySelectorAll("details[open] > summary")].map((summary) => summary.id);
  const scrolled = body.scrollTop;
  body.replaceChildren(document.adoptNode(fresh));
  for (const id of open_) document.getElementById(id)?.parentElement?.setAttribute("open", "");
  body.scrollTop = scrolled;
  if (!hadFocus) return;
  const place = focused ? document.getElementById(focused) : null;
  if (place && !place.matches(":disabled")) place.focus({ preventScroll: true });
  else body.closest("section")?.focus({ preventScroll: true });
}

/**
 * @param {SubmitEvent} event
 * @param {Refetch} refetch
 */
function onSubmit(event, refetch) {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  event.preventDefault();
  sendForm(form, event.submitter)
    .then(() => {
      form.closest("details")?.removeAttribute("open");
      if (form.dataset.said) showToast({ severity: "success", text: form.dataset.said });
      return refetch.now();
    })
    .catch(() => showToast({ severity: "error", text: "That did not reach the server. Try again." }));
}

/**
 * Sends a form with this page's session; the answer is JSON.
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
function sendForm(form, submitter) {
  const csrf = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
  const headers = { "X-CSRFToken": csrf, Accept: "application/json" };
  const options = { method: "POST", headers, body: formBody(form, submitter), signal: AbortSignal.timeout(10_000) };
  return fetchChecked(form.getAttribute("action") ?? "", options, "application/json");
}

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
export function formBody(form, submitter) {
  const data = new FormData(form, submitter);
  return new URLSearchParams([...data].map(([name, value]) => [name, String(value)]));
}
