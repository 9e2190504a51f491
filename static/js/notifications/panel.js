// @ts-check
import { unreadText, newIds } from "./bell.js";

/**
 * The bell's number and its panel. Their content is the user's own: it is refetched when an event says so, never pushed. This
 * module is loaded when the page is first used, or when there may be something new. It gets its dependencies as arguments,
 * because its own imports would be second copies of them.
 *
 * @typedef {object} Dependencies
 * @property {(root: ParentNode) => void} prepare  runs on new content before it is shown
 * @property {() => Promise<void>} refetch  loads the content, now or after a failure later
 * @property {typeof import("../lib/http.js").fetchChecked} fetchChecked
 * @property {typeof import("./form.js").sendForm} sendForm
 * @property {typeof import("./flash.js").removeFlashes} removeFlashes
 * @property {typeof import("../ui/toast_queue.js").showToast} showToast
 */

const ADDRESS = "/notifications/panel";
const MAX_ANNOUNCED = 20;

/** @type {Set<string>} */
const announcedIds = new Set();

/**
 * @param {HTMLElement} panel
 * @param {Dependencies} dependencies
 */
export function bindPanel(panel, dependencies) {
  document.addEventListener("click", ({ target }) => onClick(/** @type {Element} */ (target), panel));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden && !event.defaultPrevented) closePanel(panel);
  });
  panel.addEventListener("submit", (event) => onSubmit(event, dependencies));
  return {
    load: () => loadPanel(dependencies).catch(showLoadError),
    toggle: () => (panel.hidden ? openPanel(panel, dependencies) : closePanel(panel)),
  };
}

/**
 * @param {Element} target
 * @param {HTMLElement} panel
 */
function onClick(target, panel) {
  if (target.closest("#panel-close")) {
    closePanel(panel);
  } else if (!panel.hidden && !panel.contains(target) && target.isConnected && !target.closest("#bell, .toasts")) {
    panel.hidden = true; // the focus stays where the reader clicked
    setOpen(false);
  }
}

/**
 * @param {HTMLElement} panel
 * @param {Dependencies} dependencies
 */
function openPanel(panel, { refetch }) {
  panel.hidden = false;
  setOpen(true);
  panel.focus({ preventScroll: true });
  refetch().catch(() => {});
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

/** @param {Dependencies} dependencies */
async function loadPanel({ fetchChecked, prepare, removeFlashes }) {
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
function replaceContent(body, fresh) {
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
 * @param {Dependencies} dependencies
 */
function onSubmit(event, { refetch, sendForm, showToast }) {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  event.preventDefault();
  sendForm(form, event.submitter)
    .then(() => {
      form.closest("details")?.removeAttribute("open");
      if (form.dataset.said) showToast({ severity: "success", text: form.dataset.said });
      return refetch();
    })
    .catch(() => showToast({ severity: "error", text: "That did not reach the server. Try again." }));
}
