// @ts-check
import { Countdown } from "../lib/countdown.js";

/**
 * Short messages at the bottom right: what became of an action, or of the connection. At most three; information
 * leaves after six seconds, but not while it is hovered or focused; a failure stays until it is closed.
 *
 * @typedef {"info" | "success" | "warning" | "error"} Severity
 * @typedef {{ severity: Severity, text: string, word?: string, sticky?: boolean }} Toast
 */

const MOST = 3;
const STAYS_MS = 6_000;

/** @type {Record<Severity, string>} */
const WORDS = { info: "Message", success: "Done", warning: "Warning", error: "Failed" };

/**
 * Shows a message; the answer takes it away.
 * @param {Toast} toast  `sticky` keeps it until it is closed; a failure is always kept; `word` says more than the severity
 * @returns {() => void}
 */
export function showToast({ severity, text, word = WORDS[severity], sticky = false }) {
  const isFailure = severity === "error";
  const box = element("div", "toast");
  box.dataset.state = severity;
  const words = element("p", "toast-words");
  words.append(element("strong", "", word), ` ${text}`);
  const remove = () => box.remove(); // a timer that ends later finds nothing to take away
  const countdown = sticky || isFailure ? null : new Countdown(STAYS_MS, remove);
  box.append(icon(severity), words, closeButton(remove));
  watchAttention(box, countdown);
  regionFor(isFailure).append(box);
  makeRoom();
  countdown?.run();
  return remove;
}

/**
 * While somebody points at it or is in it, it does not leave.
 * @param {HTMLElement} box
 * @param {Countdown | null} countdown
 */
function watchAttention(box, countdown) {
  for (const name of ["mouseenter", "focusin"]) box.addEventListener(name, () => countdown?.hold());
  for (const name of ["mouseleave", "focusout"]) {
    box.addEventListener(name, () => {
      if (!box.matches(":hover, :focus-within")) countdown?.run();
    });
  }
}

/** The oldest information gives way first, then the oldest of all. */
function makeRoom() {
  const shown = [...document.querySelectorAll(".toast")];
  while (shown.length > MOST) {
    const next = Math.max(0, shown.findIndex((one) => one.getAttribute("data-state") !== "error"));
    shown.splice(next, 1)[0]?.remove();
  }
}

/** There from the start: what comes into the page together with a polite region is not always read aloud. */
const regions = document.getElementById("toasts") ?? makeCorner();

/**
 * Two live regions, because only a failure may interrupt whoever listens.
 * @param {boolean} isFailure
 */
function regionFor(isFailure) {
  const role = isFailure ? "alert" : "status";
  return regions.querySelector(`[role=${role}]`) ?? makeRegion(regions, role);
}

function makeCorner() {
  const corner = element("div", "toasts");
  corner.id = "toasts";
  makeRegion(corner, "status");
  document.body.append(corner);
  return corner;
}

/**
 * @param {HTMLElement} corner
 * @param {string} role
 */
function makeRegion(corner, role) {
  const region = element("div", "toast-region");
  region.setAttribute("role", role);
  region.setAttribute("aria-atomic", "false");
  corner.append(region);
  return region;
}

/** @param {() => void} remove */
function closeButton(remove) {
  const button = /** @type {HTMLButtonElement} */ (element("button", "toast-close"));
  button.type = "button";
  button.append(icon("error"), element("span", "visually-hidden", "Close"));
  button.addEventListener("click", remove);
  return button;
}

/** @param {string} name */
function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.classList.add("icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(namespace, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/**
 * @param {string} name
 * @param {string} className
 * @param {string} [text]
 */
function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
