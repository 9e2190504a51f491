// @ts-check
import { mustQueue, queueRows } from "./new_rows.js";
import { isInUse } from "./focus.js";

/**
 * Checks every swap: removes what would replace an element in use, patches its state and ages instead, and reloads the
 * region once when the reader has left it.
 *
 * @typedef {{ type: string, target: Element | string, fragment: DocumentFragment, swapSpec?: { style?: string } }} Task
 */

/** Patched even while in use: a swap of them disturbs nobody, and a page must not show an outdated state. */
const ALWAYS_PATCHED = [".tile-now", ".figures", ".tile-age", ".strip-row > .state", ".strip-age"];

/** @type {Set<string>} */
const dirtyNames = new Set();

/** @param {Task[]} tasks  of one swap; those that must wait are removed */
export function guardSwap(tasks) {
  for (let at = tasks.length - 1; at >= 0; at -= 1) {
    const task = tasks[at];
    const target = task && targetOf(task);
    if (task && target && isHeld(task, target)) tasks.splice(at, 1);
  }
}

/**
 * @param {Task} task
 * @param {Element} target
 */
function isHeld(task, target) {
  if (mustQueue(target)) {
    queueRows([...task.fragment.children]);
    return true;
  }
  const upsert = task.swapSpec?.style === "upsert";
  const touched = upsert ? [...task.fragment.children].flatMap((one) => document.getElementById(one.id) ?? []) : [target];
  if (target.matches(".check") || !touched.some(isInUse)) return false;
  markDirty(target);
  for (const element of touched) patch(element, task.fragment);
  return true;
}

/** @param {Element} element */
export function markDirty(element) {
  const region = /** @type {HTMLElement | null} */ (element.closest("[data-region]"));
  if (!region) return;
  dirtyNames.add(region.dataset.region ?? "");
  region.dataset.isStale = "true";
}

export function dirtyRegionNames() {
  return dirtyNames;
}

/**
 * Reloads the held regions that are no longer in use.
 * @param {(wanted: (name: string) => boolean) => Promise<unknown>} refetch
 */
export async function releaseRegions(refetch) {
  const free = [...dirtyNames].filter((name) => {
    const region = document.querySelector(`[data-region="${CSS.escape(name)}"]`);
    return !region || !isInUse(region);
  });
  if (free.length === 0) return;
  for (const name of free) dirtyNames.delete(name);
  try {
    await refetch((name) => free.includes(name));
  } catch (error) {
    for (const name of free) dirtyNames.add(name);
    throw error;
  }
}

/**
 * @param {Element} element
 * @param {DocumentFragment} fragment
 */
function patch(element, fragment) {
  const fresh = fragment.getElementById(element.id);
  if (!fresh?.firstElementChild) return; // the row was deleted: it goes when the reader has left it
  for (const selector of ALWAYS_PATCHED) {
    const [old, now] = [element, fresh].map((root) => findMatching(root, selector));
    if (old && now && !isInUse(old)) old.replaceChildren(...now.cloneNode(true).childNodes);
  }
  for (const name of ["data-state", "data-findings"]) {
    const value = fresh.getAttribute(name);
    if (value !== null) element.setAttribute(name, value);
  }
}

/**
 * @param {Element} root
 * @param {string} selector
 */
function findMatching(root, selector) {
  return [...root.querySelectorAll("*")].find((one) => one.matches(selector));
}

/** @param {Task} task */
function targetOf({ target }) {
  return typeof target === "string" ? document.querySelector(target) : target;
}
