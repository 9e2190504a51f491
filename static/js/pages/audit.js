// @ts-check
import { HeldList } from "./pausable_list.js";
import { isPaused } from "./region_reload.js";
import { watchVerify } from "./audit_verification.js";

/**
 * The page of the audit: its own script. Most entries have no event that everybody may see, so it asks for the number of the
 * newest one while somebody looks at it.
 */

const EVERY_MS = 2_000;
const JITTER_MS = 200;
const TIMEOUT_MS = 10_000;

/** @type {import("./pausable_list.js").Kind} */
const AUDIT = {
  link: "audit-new",
  list: (root) => root.querySelector("#audit"),
  wants: (region) => region.startsWith("audit"),
  isLater: (list) => list.hasAttribute("data-later"),
  newOn: (shown, fresh) => (AUDIT.isLater(shown) ? Math.max(0, fitting(fresh) - fitting(shown)) : rows(fresh).filter((row) => !rows(shown).includes(row)).length),
};

const held = new HeldList(AUDIT, JITTER_MS);
let told = head(AUDIT.list(document));
setInterval(look, EVERY_MS);

watchVerify();

async function look() {
  if (document.hidden || isPaused()) return;
  try {
    const answer = await fetch("/audit/head", { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const { seq } = answer.ok ? await answer.json() : { seq: told };
    if (seq === told) return;
    told = seq;
    held.soon();
  } catch {
    // the connection's badge says what is wrong
  }
}

/** @param {HTMLElement | null} list */
function head(list) {
  return Number(list?.dataset.head ?? 0);
}

/**
 * How many there are of what was asked for; nothing where only a search through all of them would tell.
 * @param {HTMLElement} list
 */
function fitting(list) {
  return Number(list.dataset.fitting ?? 0);
}

/** @param {Element} list */
function rows(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-seq]"));
  return [...found].map((row) => row.dataset.seq ?? "");
}
