// @ts-check
import { mustQueue, queueRows } from "./new_rows.js";
import { isInUse } from "./focus.js";

/**
 * Stands before every swap: takes out what would pull something from under a reader's hands, patches the words of state
 * and the ages in its place, and has the region loaded again, once, when the reader lets go of it.
 *
 * @typedef {{ type: string, target: Element | string, fragment: DocumentFragment, swapSpec?: { style?: string } }} Task
 */

/** Never held, because a swap of them takes nothing from anybody; an open page must not go on claiming what was. */
const ALWAYS_PATCHED = [".tile-now", ".figures", ".tile-age", ".strip-row > .state", ".strip-age"];

/** @type {Set<string>} */
const dirtyNames = new Set();

/** @param {Task[]} tasks  those of one swap; what must wait is removed */
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
 * Loads again what was held, once nobody is in it any more.
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
  if (!fresh?.firstElementChild) return; // nothing to put in its place: the row goes when the reader has gone
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
