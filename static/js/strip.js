// @ts-check
import { announce } from "./announce.js";
import { summarise } from "./summary.js";
import { setWrong } from "./title.js";

/** Rows of the strip before the rest is held back. */
const SHOWN = 5;

/**
 * The sentence above the tiles, made from the tiles on the screen: no event knows all services.
 * @returns {void}
 */
export function updateStrip() {
  const line = document.getElementById("summary");
  if (!line) return;
  const tiles = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#tiles > .tile")]);
  const { state, words, wrong } = summarise(tiles.map(stateOf));
  setWrong(wrong);
  holdBack();
  showOldest(line, state === "verified" ? tiles : []);
  const place = line.querySelector(".summary-words");
  if (!place || place.textContent === words) return;
  place.textContent = words;
  line.dataset.state = state;
  line.querySelector("use")?.setAttribute("href", `#i-${state}`);
  announce(words);
}

/** The worst few, and how many more: a bad day must not push the tiles off the screen. */
function holdBack() {
  const list = document.getElementById("strip-rows");
  const more = document.getElementById("strip-more");
  if (!list || !more) return;
  const beyond = ["discrepancy", "stale"].flatMap((state) => [...list.querySelectorAll(`[data-state=${state}]`)]).slice(SHOWN);
  for (const row of list.children) row.toggleAttribute("data-beyond", beyond.includes(row));
  const open = list.hasAttribute("data-open");
  more.hidden = beyond.length === 0;
  more.textContent = open ? "Show fewer" : `${beyond.length} more`;
  more.setAttribute("aria-expanded", String(open));
  more.onclick = () => {
    list.toggleAttribute("data-open");
    holdBack();
  };
}

/** @param {HTMLElement} tile */
function stateOf(tile) {
  return tile.hasAttribute("data-aged") ? "stale" : (tile.dataset.state ?? "unknown");
}

/**
 * @param {HTMLElement} line
 * @param {HTMLElement[]} tiles
 */
function showOldest(line, tiles) {
  const checks = tiles.map((tile) => tile.querySelector(".check time")?.getAttribute("datetime") ?? "").filter(Boolean);
  const oldest = checks.sort()[0];
  const place = line.querySelector(".summary-oldest");
  if (!oldest) place?.remove();
  else setTime(place ?? addOldest(line), oldest);
}

/** @param {HTMLElement} line */
function addOldest(line) {
  const place = document.createElement("span");
  place.className = "summary-oldest";
  const time = document.createElement("time");
  time.dataset.age = "";
  place.append(", oldest ", time);
  line.append(place);
  return place;
}

/**
 * @param {Element} place
 * @param {string} moment
 */
function setTime(place, moment) {
  const time = place.querySelector("time");
  if (time && time.dateTime !== moment) time.dateTime = moment;
}
