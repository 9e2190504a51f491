// @ts-check
import { ownAddress } from "../lib/own_address.js";
import { announce } from "./announcements.js";
import { describeConnection } from "./connection_text.js";

/** The state as last announced: a heartbeat is no news. */
let announced = "";

/**
 * The connection's state in the bar: icon, word and colour; and the sentence that its popover begins with.
 * @param {HTMLElement} badge
 * @param {import("../connection/status.js").Status} status
 */
export function showConnection(badge, status) {
  const { look, word, sentence, spoken = word } = describeConnection(status);
  badge.dataset.state = look;
  badge.title = sentence;
  badge.querySelector("use")?.setAttribute("href", `#i-${look}`);
  const reason = document.querySelector("#connection-detail [data-part=reason]");
  if (reason) reason.textContent = sentence;
  setWord(badge, word, status.reason === "signed-out");
  if (status.reason !== "starting") announce(() => sayOnce(spoken, sentence));
}

/**
 * @param {string} state
 * @param {string} sentence
 */
function sayOnce(state, sentence) {
  if (state === announced) return "";
  announced = state;
  return `${state}. ${sentence}`;
}

/**
 * @param {HTMLElement} badge
 * @param {string} word
 * @param {boolean} signedOut
 */
function setWord(badge, word, signedOut) {
  const place = badge.querySelector(".badge-word");
  if (place && place.textContent !== word) place.textContent = word;
  if (signedOut && place) badge.replaceChildren(loginLink());
}

/** When nothing is left to reconnect or pause, the badge is a link to the login. */
function loginLink() {
  const link = document.createElement("a");
  link.href = loginAddress();
  link.textContent = "Signed out: log in";
  return link;
}

export function loginAddress() {
  return ownAddress(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}
