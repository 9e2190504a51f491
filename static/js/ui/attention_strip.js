// @ts-check
import { announce } from "./announcements.js";
import { isPointerBelow } from "../interaction/pointer.js";
import { clock } from "../lib/time_text.js";
import { describeChanges, summarise } from "./summary_text.js";
import { setProblemCount } from "./tab_title.js";

/** Rows of the strip that are shown in full. */
const MAX_ROWS = 5;

/** @type {Set<string> | undefined} the rows that the strip shows; undefined until the first update */
let shownRowIds;

/** @type {Map<string, string> | undefined} the states of the services as last announced */
let announcedStates;

/** @type {number | null} */
let unheardSince = null;

/**
 * Writes the sentence above the tiles from the tiles on the screen, because no event knows all services.
 * @param {number | null} [unheard]  since when Beacon is silent, which then comes first
 * @returns {void}
 */
export function updateAttentionStrip(unheard = unheardSince) {
  unheardSince = unheard;
  const line = document.getElementById("summary");
  if (!line) return;
  const { state, words: found, wrong } = summarise(tiles().map(stateOf));
  const words = unheard === null ? found : `No news from Beacon since ${clock(new Date(unheard))}. Until then: ${lowerFirst(found)}`;
  setProblemCount(wrong);
  announceChanges();
  holdNewRows();
  limitRows();
  showOldestCheck(line, state === "verified" && unheard === null ? tiles() : []);
  const place = line.querySelector(".summary-words");
  if (!place || place.textContent === words) return;
  place.textContent = words;
  line.dataset.state = state;
  line.querySelector("use")?.setAttribute("href", `#i-${state}`);
}

/** Announces which service changed, and to what. A change of less than a second is not announced. */
function announceChanges() {
  const before = (announcedStates ??= statesByName());
  if (!describeChanges(before, statesByName())) return;
  announce(() => {
    const now = statesByName();
    announcedStates = now;
    return describeChanges(before, now);
  }, "services");
}

function statesByName() {
  return new Map(tiles().map((tile) => [tile.querySelector(".tile-name")?.textContent ?? "", stateOf(tile)]));
}

/** @returns {HTMLElement[]} */
function tiles() {
  return [...document.querySelectorAll("#tiles > .tile")].filter((tile) => tile instanceof HTMLElement);
}

/** New rows wait while the pointer is below the strip; a button says how many, and they appear when the pointer leaves. */
function holdNewRows() {
  const strip = document.querySelector(".strip");
  const button = document.getElementById("strip-new");
  if (!strip || !button) return;
  const wrong = wrongRows(strip);
  const stood = shownRowIds ?? new Set(wrong.map((row) => row.id));
  const fresh = wrong.filter((row) => !stood.has(row.id));
  const held = fresh.length > 0 && isPointerBelow(strip) ? fresh : [];
  for (const row of strip.querySelectorAll(".strip-row")) row.toggleAttribute("data-held", held.includes(row));
  shownRowIds = new Set(wrong.filter((row) => !held.includes(row)).map((row) => row.id));
  button.hidden = held.length === 0;
  button.textContent = held.length === 1 ? "1 new problem" : `${held.length} new problems`;
  button.onclick = () => openRows(held);
}

/** @param {Element[]} rows */
function openRows(rows) {
  for (const row of rows) shownRowIds?.add(row.id);
  updateAttentionStrip();
  rows.find((row) => row.checkVisibility())?.querySelector("a")?.focus();
}

/**
 * Worst first.
 * @param {Element} strip
 */
function wrongRows(strip) {
  const kinds = [".strip-row[data-state=discrepancy]:not([data-aged])", ".strip-row[data-state=error]", ".strip-row:is([data-state=stale], [data-aged])"];
  return kinds.flatMap((rows) => [...strip.querySelectorAll(rows)]);
}

/** @param {string} words */
function lowerFirst(words) {
  return words.charAt(0).toLowerCase() + words.slice(1);
}

/** Shows the worst few rows in full, the others only by state and name: a bad day must not push the tiles off the screen. */
function limitRows() {
  const list = document.getElementById("strip-rows");
  const more = document.getElementById("strip-more");
  if (!list || !more) return;
  const beyond = wrongRows(list).filter((row) => !row.hasAttribute("data-held")).slice(MAX_ROWS);
  for (const row of list.children) row.toggleAttribute("data-beyond", beyond.includes(row));
  const isOpen = list.hasAttribute("data-open");
  more.hidden = beyond.length === 0;
  more.textContent = isOpen ? "Less detail" : `Details of ${beyond.length} more`;
  more.setAttribute("aria-expanded", String(isOpen));
  more.onclick = () => {
    list.toggleAttribute("data-open");
    limitRows();
  };
}

/** @param {HTMLElement} tile */
function stateOf(tile) {
  return tile.hasAttribute("data-aged") ? "stale" : (tile.dataset.state ?? "unknown");
}

/**
 * @param {HTMLElement} line
 * @param {HTMLElement[]} among
 */
function showOldestCheck(line, among) {
  const checks = among.map((tile) => tile.querySelector(".check time")?.getAttribute("datetime") ?? "").filter(Boolean);
  const oldest = checks.sort()[0];
  const place = line.querySelector(".summary-oldest");
  if (!oldest) place?.remove();
  else setTime(place ?? addOldestCheck(line), oldest);
}

/** @param {HTMLElement} line */
function addOldestCheck(line) {
  const place = document.createElement("span");
  place.className = "summary-oldest";
  const time = document.createElement("time");
  time.dataset.age = "";
  place.append(", oldest ", time);
  line.querySelector(".summary-words")?.after(place);
  return place;
}

/**
 * @param {Element} place
 * @param {string} formatMoment
 */
function setTime(place, formatMoment) {
  const time = place.querySelector("time");
  if (time && time.dateTime !== formatMoment) time.dateTime = formatMoment;
}
