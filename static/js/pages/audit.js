// @ts-check
import { ownAddress } from "../lib/own_address.js";
import { PausableList } from "./pausable_list.js";
import { isPaused } from "./region_reload.js";
import { watchVerification } from "./audit_verification.js";

/**
 * The script of the audit page. Most entries have no event that everybody may see, so a visible page polls for the number
 * of the newest entry.
 */

const POLL_INTERVAL_MS = 2_000;
const REFETCH_SPREAD_MS = 200;
const TIMEOUT_MS = 10_000;

/** @type {import("./pausable_list.js").ListOptions} */
const AUDIT_LIST = {
  link: "audit-new",
  list: (root) => root.querySelector("#audit"),
  includesRegion: (region) => region.startsWith("audit"),
  isLaterPage: (list) => list.hasAttribute("data-later"),
  countNew: (shown, fresh) => (AUDIT_LIST.isLaterPage(shown) ? Math.max(0, matchCount(fresh) - matchCount(shown)) : rowIds(fresh).filter((row) => !rowIds(shown).includes(row)).length),
};

const auditList = new PausableList(AUDIT_LIST, REFETCH_SPREAD_MS);
let newestSeq = newestSeqOf(AUDIT_LIST.list(document));
setInterval(checkHead, POLL_INTERVAL_MS);

watchVerification();

async function checkHead() {
  if (document.hidden || isPaused()) return;
  try {
    const answer = await fetch(ownAddress("/audit/head"), { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const { seq } = answer.ok ? await answer.json() : { seq: newestSeq };
    if (seq === newestSeq) return;
    newestSeq = seq;
    auditList.soon();
  } catch {
    // the connection's badge says what is wrong
  }
}

/** @param {HTMLElement | null} list */
function newestSeqOf(list) {
  return Number(list?.dataset.head ?? 0);
}

/**
 * How many entries match the filter; 0 if counting them would need a search through all.
 * @param {HTMLElement} list
 */
function matchCount(list) {
  return Number(list.dataset.fitting ?? 0);
}

/** @param {Element} list */
function rowIds(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-seq]"));
  return [...found].map((row) => row.dataset.seq ?? "");
}
