// @ts-check
import { Countdown } from "../lib/countdown.js";

/**
 * Short messages at the bottom right about an action or the connection. At most three; information disappears after six
 * seconds, but not while it is hovered or focused; an error stays until it is closed.
 *
 * @typedef {"info" | "success" | "warning" | "error"} Severity
 * @typedef {{ severity: Severity, text: string, word?: string, sticky?: boolean }} Toast
 */

const MAX_TOASTS = 3;
const SHOWN_MS = 6_000;

/** @type {Record<Severity, string>} */
const WORDS = { info: "Message", success: "Done", warning: "Warning", error: "Failed" };

/**
 * Shows a message, and returns a function that removes it.
 * @param {Toast} toast  `sticky` keeps it until it is closed, like an error; `word` replaces the severity's
 * @returns {() => void}
 */
export function showToast({ severity, text, word = WORDS[severity], sticky = false }) {
  const isFailure = severity === "error";
  const box = createElement("div", "toast");
  box.dataset.state = severity;
  const words = createElement("p", "toast-words");
  words.append(createElement("strong", "", word), ` ${text}`);
  const remove = () => box.remove(); // harmless if the toast is gone already
  const countdown = sticky || isFailure ? null : new Countdown(SHOWN_MS, remove);
  box.append(createIcon(severity), words, createCloseButton(remove));
  pauseWhileUsed(box, countdown);
  findRegion(isFailure).append(box);
  removeExcess();
  countdown?.resume();
  return remove;
}

/**
 * Pauses the countdown while the toast is hovered or focused.
 * @param {HTMLElement} box
 * @param {Countdown | null} countdown
 */
function pauseWhileUsed(box, countdown) {
  for (const name of ["mouseenter", "focusin"]) box.addEventListener(name, () => countdown?.pause());
  for (const name of ["mouseleave", "focusout"]) {
    box.addEventListener(name, () => {
      if (!box.matches(":hover, :focus-within")) countdown?.resume();
    });
  }
}

/** Removes the oldest information first, then the oldest of all. */
function removeExcess() {
  const shown = [...document.querySelectorAll(".toast")];
  while (shown.length > MAX_TOASTS) {
    const next = Math.max(0, shown.findIndex((one) => one.getAttribute("data-state") !== "error"));
    shown.splice(next, 1)[0]?.remove();
  }
}

/**
 * Two live regions, because only an error may interrupt a screen reader. The page has the polite one: a message that is added
 * together with its polite region is not always read aloud.
 */
const regions = /** @type {HTMLElement} */ (document.getElementById("toasts"));
if (!regions.querySelector("[role=alert]")) createRegion(regions, "alert");

/** @param {boolean} isFailure */
function findRegion(isFailure) {
  return /** @type {Element} */ (regions.querySelector(`[role=${isFailure ? "alert" : "status"}]`));
}

/**
 * @param {HTMLElement} corner
 * @param {string} role
 */
function createRegion(corner, role) {
  const region = createElement("div", "toast-region");
  region.setAttribute("role", role);
  region.setAttribute("aria-atomic", "false");
  corner.append(region);
  return region;
}

/** @param {() => void} remove */
function createCloseButton(remove) {
  const button = /** @type {HTMLButtonElement} */ (createElement("button", "toast-close"));
  button.type = "button";
  button.append(createIcon("error"), createElement("span", "visually-hidden", "Close"));
  button.addEventListener("click", remove);
  return button;
}

/** @param {string} name */
function createIcon(name) {
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
function createElement(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
