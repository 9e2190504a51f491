// @ts-check
import { compareBoard, describeDifferences } from "./board_rules.js";

/**
 * The script of a dashboard with many or with chosen services. Nothing enters, leaves or moves by itself: a link says what no
 * longer fits, and loads the page again.
 *
 * @typedef {import("./board_rules.js").Service} Service
 */

const CHECK_INTERVAL_MS = 1_000;

/** @type {Map<string, Service>} */
let placed = new Map();

const board = () => document.getElementById("tiles");

/** @returns {NodeListOf<HTMLElement>} */
const tiles = () => document.querySelectorAll("#tiles > .tile");

/** @returns {Map<string, Service>} */
function readServices() {
  return new Map([...tiles()].map((tile) => [tile.id, {
    status: tile.hasAttribute("data-aged") ? "stale" : (tile.dataset.state ?? "unknown"),
    failing: tile.querySelector(".tile-causes > a") !== null,
    hidden: tile.hasAttribute("hidden"),
    nearly: tile.hasAttribute("data-nearly"),
  }]));
}

/**
 * A pushed tile knows no filter: it is as hidden as the one that it replaces, and a new one waits for the next load.
 * @param {DocumentFragment} fragment
 */
function keepHidden(fragment) {
  if (!board()?.hasAttribute("data-arranged")) return;
  for (const fresh of /** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll(".tile[id]"))) {
    const shown = document.getElementById(fresh.id);
    fresh.hidden = shown ? shown.hidden : true;
    fresh.toggleAttribute("data-nearly", shown?.hasAttribute("data-nearly") ?? false);
  }
}

function refreshBoard() {
  const root = board();
  if (!root) return;
  if (root.hasAttribute("data-dense")) countVerified(root);
  const link = document.getElementById("board-news");
  if (!link || !root.hasAttribute("data-arranged")) return;
  const query = { wanted: root.dataset.wanted ?? "", byState: root.hasAttribute("data-by-state") };
  const words = describeDifferences(compareBoard(placed, readServices(), query));
  if (link.textContent !== words) link.textContent = words;
  link.hidden = words === "";
}

/** @param {HTMLElement} root */
function countVerified(root) {
  const place = root.querySelector(".tiles-quiet");
  const words = `${root.querySelectorAll(":scope > .tile[data-state=verified]:not([data-aged], [data-limited])").length} verified`;
  if (place && place.textContent !== words) place.textContent = words;
}

document.addEventListener("htmx:before:swap", (event) => {
  for (const { fragment } of /** @type {CustomEvent} */ (event).detail.tasks) keepHidden(fragment);
});
document.addEventListener("beacon:regions", (event) => {
  if (/** @type {CustomEvent} */ (event).detail.includes("tiles")) placed = readServices();
});
placed = readServices();
setInterval(refreshBoard, CHECK_INTERVAL_MS);
