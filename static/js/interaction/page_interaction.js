// @ts-check
import { trimLists } from "../ui/list_limit.js";
import { serverNow } from "../lib/server_clock.js";
import { addCopies, watchCopies } from "./copy_buttons.js";
import { markCut, watchCut } from "../ui/truncated_text.js";
import { noteFigures } from "../ui/change_highlight.js";
import { isStale } from "../ui/freshness.js";
import { dirtyRegions, guard, releaseRegions } from "./swap_guard.js";
import { watchHands } from "./pointer.js";
import { watchMenu } from "./menu.js";
import { forget, release, watchNews } from "./new_rows.js";
import { refetchRegions } from "./regions.js";
import { reportError } from "../telemetry/error_report.js";
import { keepTrends, watchTrends } from "../ui/sparklines.js";

/** What the reader's hands are on stays as it is; everything else says how fresh it is. */

const LETTING_GO = ["focusout", "selectionchange", "close", "toggle"];

/** @param {(root: ParentNode) => void} prepare  runs on what is loaded again before any of it is shown */
export function watchInterface(prepare) {
  document.addEventListener("htmx:before:swap", (event) => {
    const tasks = /** @type {CustomEvent} */ (event).detail.tasks;
    for (const { fragment } of tasks) {
      keepTrends(fragment);
      addCopies(fragment);
      noteFigures(fragment);
    }
    guard(tasks);
  });
  document.addEventListener("htmx:after:settle", (event) => touched(/** @type {CustomEvent} */ (event).detail.task?.target));
  document.addEventListener("beacon:rows", trimLists);
  document.addEventListener("beacon:regions", (event) => {
    if (/** @type {CustomEvent} */ (event).detail.includes("changes")) forget(); // with any other region, rows go on waiting
    addCopies(document);
  });
  const letGo = () => releaseRegions((wanted) => refetchRegions(prepare, wanted)).catch((error) => reportError(error, "swap"));
  for (const name of LETTING_GO) document.addEventListener(name, () => setTimeout(letGo), { capture: true });
  watchNews();
  watchTrends();
  watchHands();
  watchCopies();
  watchCut();
  watchMenu();
  setInterval(settle, 1_000);
}

function settle() {
  release();
  layOut();
  markCut();
  const connection = document.documentElement.dataset.connection ?? "none";
  const unheard = document.documentElement.hasAttribute("data-unheard");
  for (const region of regions()) {
    const held = dirtyRegions().has(region.dataset.region ?? "");
    const aged = region.querySelector("[data-aged]") !== null;
    const stale = String(isStale({ connection, held, aged, unheard }));
    if (region.dataset.isStale !== stale) region.dataset.isStale = stale;
  }
}

/** Many services: what is verified is one line under its number. */
function layOut() {
  const board = document.getElementById("tiles");
  if (!board) return;
  const tiles = board.querySelectorAll(":scope > .tile");
  const quiet = board.querySelectorAll(":scope > .tile[data-state=verified]:not([data-aged])").length;
  board.toggleAttribute("data-dense", tiles.length >= Number(board.dataset.denseFrom));
  const words = `${quiet} verified`;
  const place = board.querySelector(".tiles-quiet");
  if (place && place.textContent !== words) place.textContent = words;
}

/** @param {unknown} target */
function touched(target) {
  const region = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-region]")) : null;
  if (region) region.dataset.lastUpdatedAt = new Date(serverNow()).toISOString();
}

/** @returns {NodeListOf<HTMLElement>} */
function regions() {
  return document.querySelectorAll("[data-region]");
}
