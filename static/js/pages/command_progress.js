// @ts-check
import { showToast } from "../ui/toast.js";

/**
 * What the page shows of a press, where it was pressed: that it is under way, and what became of its sending.
 *
 * @typedef {import("./command_form.js").Press} Press
 */

const DOING = /** @type {Record<string, string>} */ ({ "retry-job": "retrying…", "delete-job": "deleting…" });

/**
 * In the row, at once; the stream writes into the same place from then on.
 * @param {Press} press
 * @param {string} id
 * @returns {(...said: (string | Node)[]) => void}  sending is over: what stands in the row, unless the stream has said more
 */
export function showDoing({ form, button, action }, id) {
  const buttons = button ? buttonsAround(button) : [];
  const place = placeOf(button);
  if (place) {
    place.id = `command-${id}`;
    place.textContent = DOING[action] ?? "sending…";
  } else form.setAttribute("aria-busy", "true");
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  hideRefusal();
  return (...said) => {
    for (const one of buttons) one.removeAttribute("aria-disabled");
    form.removeAttribute("aria-busy");
    if (place && place.querySelector("[data-phase]") === null) place.replaceChildren(...said);
  };
}

/** @param {HTMLElement | null} button */
export function placeOf(button) {
  return /** @type {HTMLElement | null} */ (button?.closest("tr")?.querySelector(".acted") ?? null);
}

/**
 * All of its row, or it alone.
 * @param {Element} button
 */
export function buttonsAround(button) {
  return [...(button.closest("tr")?.querySelectorAll(".act-on") ?? [button])];
}

/**
 * @param {Press} press
 * @param {{ text: string, word?: string }} said
 * @param {string} [address]  of the command that stands in the way
 */
export function complain({ form }, said, address) {
  const box = "review" in form.dataset ? document.getElementById("refused") : null;
  if (!box) {
    showToast({ severity: "error", ...said });
    return;
  }
  box.replaceChildren(said.word ? `${said.word}. ${said.text}` : said.text, ...(address ? [" ", link(address, "Look at it")] : []));
  box.hidden = false;
}

/** What was said of the press before. */
function hideRefusal() {
  const box = document.getElementById("refused");
  if (box) box.hidden = true;
}

/**
 * @param {string} address
 * @param {string} words
 */
export function link(address, words) {
  const made = document.createElement("a");
  made.href = address;
  made.textContent = words;
  return made;
}
