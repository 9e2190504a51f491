// @ts-check
import { trimLists } from "../ui/list_limit.js";
import { serverNow } from "../lib/server_clock.js";
import { addCopyButtons, watchCopyButtons } from "./copy_buttons.js";
import { markTruncated, watchTruncated } from "../ui/truncated_text.js";
import { highlightChanges } from "../ui/change_highlight.js";
import { isStale } from "../ui/freshness.js";
import { dirtyRegionNames, guardSwap, releaseRegions } from "./swap_guard.js";
import { watchPointer } from "./pointer.js";
import { watchMenu } from "./menu.js";
import { clearRows, releaseRows, watchNewRows } from "./new_rows.js";
import { refetchRegions } from "./regions.js";
import { reportFailure } from "../telemetry/caught_error.js";
import { keepTileParts, watchSparklines } from "../ui/sparklines.js";

/** Keeps what the reader uses as it is; everything else says how fresh it is. */

const RELEASE_EVENTS = ["focusout", "selectionchange", "close", "toggle"];

/** @param {(root: ParentNode) => void} prepare  runs on reloaded content before it is shown */
export function watchInteraction(prepare) {
  document.addEventListener("htmx:before:swap", (event) => {
    const tasks = /** @type {CustomEvent} */ (event).detail.tasks;
    for (const { fragment } of tasks) {
      keepTileParts(fragment);
      addCopyButtons(fragment);
      highlightChanges(fragment);
    }
    guardSwap(tasks);
  });
  document.addEventListener("htmx:after:settle", (event) => noteUpdate(/** @type {CustomEvent} */ (event).detail.task?.target));
  document.addEventListener("beacon:rows", trimLists);
  document.addEventListener("beacon:regions", (event) => {
    if (/** @type {CustomEvent} */ (event).detail.includes("changes")) clearRows(); // other regions do not contain the queued rows
    addCopyButtons(document);
  });
  const releaseHeld = () => releaseRegions((wanted) => refetchRegions(prepare, wanted)).catch((error) => reportFailure(error, "swap"));
  for (const name of RELEASE_EVENTS) document.addEventListener(name, () => setTimeout(releaseHeld), { capture: true });
  watchNewRows();
  watchSparklines();
  watchPointer();
  watchCopyButtons();
  watchTruncated();
  watchMenu();
  setInterval(refreshPage, 1_000);
}

function refreshPage() {
  releaseRows();
  markTruncated();
  const connection = document.documentElement.dataset.connection ?? "none";
  const unheard = document.documentElement.hasAttribute("data-unheard");
  for (const region of allRegions()) {
    const isHeld = dirtyRegionNames().has(region.dataset.region ?? "");
    const aged = region.querySelector("[data-aged]") !== null;
    const stale = String(isStale({ connection, held: isHeld, aged, unheard }));
    if (region.dataset.isStale !== stale) region.dataset.isStale = stale;
  }
}

/** @param {unknown} target */
function noteUpdate(target) {
  const region = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-region]")) : null;
  if (region) region.dataset.lastUpdatedAt = new Date(serverNow()).toISOString();
}

/** @returns {NodeListOf<HTMLElement>} */
function allRegions() {
  return document.querySelectorAll("[data-region]");
}
