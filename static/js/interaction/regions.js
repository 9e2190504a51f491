// @ts-check
import { markDirty } from "./swap_guard.js";
import { fetchChecked, DifferentUserError } from "../lib/http.js";
import { isInUse } from "./focus.js";

/** The parts of a page that can be reloaded: elements marked `data-region`. */

const TIMEOUT_MS = 10_000;

/**
 * Reloads the page's own URL and replaces its regions.
 * @param {(root: ParentNode) => void} prepare  runs on the new page before any of it is shown
 * @param {(name: string) => boolean} [wanted]
 * @returns {Promise<number>} the cursor up to which the new regions show everything
 */
export async function refetchRegions(prepare, wanted = () => true) {
  const options = { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const response = await fetchChecked(location.href, options, "text/html");
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const cursor = Number(page.body.dataset.cursor);
  if (!Number.isSafeInteger(cursor)) throw new Error("the answer is not a page of Beacon");
  if (page.body.dataset.session !== document.body.dataset.session) throw new DifferentUserError();
  prepare(page);
  /** @type {string[]} */
  const replaced = [];
  for (const region of document.querySelectorAll("[data-region]")) {
    const name = /** @type {HTMLElement} */ (region).dataset.region ?? "";
    const fresh = page.querySelector(`[data-region="${CSS.escape(name)}"]`);
    if (!fresh || !wanted(name)) continue;
    if (isInUse(region)) {
      markDirty(region);
    } else {
      region.replaceWith(document.adoptNode(fresh));
      replaced.push(name);
    }
  }
  document.dispatchEvent(new CustomEvent("beacon:regions", { detail: replaced }));
  return cursor;
}

/**
 * Reloads the regions that detail a tile's summary when the two differ, except those in use: the tile's next change retries.
 * @param {HTMLElement} tile
 * @param {(root: ParentNode) => void} prepare
 */
export async function refetchFollower(tile, prepare) {
  const regions = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-follows="${CSS.escape(tile.id)}"]`))];
  const behind = regions.filter((region) => region.dataset.findings !== tile.dataset.findings && !isInUse(region));
  if (behind.length > 0) await refetchRegions(prepare, (name) => behind.some((region) => region.dataset.region === name));
}

/**
 * The scripts of single pages request a reload by an event (pages/region_reload.js).
 * @param {(root: ParentNode) => void} prepare
 */
export function watchReload(prepare) {
  document.addEventListener("beacon:reload", (event) => {
    const { before, wants, resolve, reject } = /** @type {CustomEvent} */ (event).detail;
    const both = (/** @type {ParentNode} */ page) => [prepare, before].forEach((one) => one(page));
    refetchRegions(both, wants).then(resolve, reject);
  });
}
