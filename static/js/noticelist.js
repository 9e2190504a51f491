// @ts-check
import { JITTER_MS, leading, namesNotifications } from "./bell.js";
import { Refetch } from "./refetch.js";
import { refetchRegions } from "./regions.js";
import { connectionStatus } from "./status.js";
import { isReading } from "./use.js";

/**
 * The page of notifications takes what is new by itself. While somebody reads it, it says how many wait; so it does on
 * its later pages, where new ones would push everything along.
 */

const REGIONS = new Set(["notifications", "notifications-head", "notifications-pages", "mutes"]);

let held = false;
let forced = false;

/** @param {(root: ParentNode) => void} prepare  runs on new content before it is shown */
export function startNoticeList(prepare) {
  if (!table(document)) return;
  const refetch = new Refetch(() => look(prepare), JITTER_MS);
  document.addEventListener("beacon:signal", (event) => {
    if (namesNotifications(/** @type {CustomEvent} */ (event).detail)) refetch.soon();
  });
  document.getElementById("notifications-new")?.addEventListener("click", (event) => {
    if (isLater()) return; // the link leads to the first page
    event.preventDefault();
    forced = true;
    refetch.now().then(() => scrollTo({ top: 0 })).catch(() => {});
  });
  for (const name of ["scroll", "selectionchange", "focusout", "input", "beacon:connection"]) {
    document.addEventListener(name, () => setTimeout(() => release(refetch)), { passive: true });
  }
}

/** @param {Refetch} refetch */
function release(refetch) {
  if (!held || mustHold()) return;
  held = false;
  refetch.now().catch(() => {});
}

/** @param {(root: ParentNode) => void} prepare */
async function look(prepare) {
  let count = 0;
  await refetchRegions((page) => {
    prepare(page);
    count = newOn(page);
    held = mustHold() && !forced;
    forced = false;
  }, (name) => REGIONS.has(name) && !held);
  show(held ? count : 0);
}

function mustHold() {
  const shown = table(document);
  return shown !== null && (connectionStatus.value.paused || isLater() || isReading(shown));
}

function isLater() {
  return Number(table(document)?.dataset.page) > 1;
}

/** @param {ParentNode} page */
function newOn(page) {
  const [shown, fresh] = [table(document), table(page)];
  if (!shown || !fresh) return 0;
  if (isLater()) return Math.max(0, Number(fresh.dataset.total) - Number(shown.dataset.total));
  return leading(new Set(ids(shown)), ids(fresh));
}

/** @param {number} count */
function show(count) {
  const link = document.getElementById("notifications-new");
  if (!link) return;
  link.hidden = count === 0;
  link.textContent = `${count.toLocaleString("en-GB")} new`;
}

/** @param {Element} list */
function ids(list) {
  const rows = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-notice]"));
  return [...rows].map((row) => row.dataset.notice ?? "");
}

/**
 * @param {ParentNode} root
 * @returns {HTMLElement | null}
 */
function table(root) {
  return root.querySelector("[data-region=notifications]");
}
