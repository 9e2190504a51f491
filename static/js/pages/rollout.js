// @ts-check
import { ownAddress } from "../lib/own_address.js";
import { Refetch } from "../lib/refetch.js";
import { isPaused, reloadRegions } from "./region_reload.js";

/**
 * The script of the rollout page. It is reloaded when the flag changes, and regularly for what no event covers: who is online,
 * what browsers report. A preview, or another time span of the evidence, is loaded into the page: half-typed input stays, and
 * the kill switch stays on the screen.
 */

const REFETCH_SPREAD_MS = 500; // all open pages get a change at once
const REFETCH_INTERVAL_MS = 15_000;
/** While a change is not in force in every worker yet: no event says when it is. */
const SETTLING_INTERVAL_MS = 1_000;
const TIMEOUT_MS = 12_000; // longer than that of app.js, which may have failed to load
/** A second press within this time belongs to the first. */
const DOUBLE_CLICK_MS = 5_000;

// After a rejected form the page is at the form's URL, which cannot be reloaded.
if (location.pathname !== ownAddress("/rollout")) history.replaceState(null, "", ownAddress(`/rollout${location.search}${location.hash}`));

let missedWhilePaused = false;
const refetch = new Refetch(async () => {
  missedWhilePaused = isPaused();
  if (!missedWhilePaused) await reloadRegions(() => {}, (region) => region.startsWith("rollout-"));
}, REFETCH_SPREAD_MS);

document.addEventListener("beacon:signal", (event) => {
  const { type } = /** @type {CustomEvent<{ type?: unknown }>} */ (event).detail;
  if (type === "flag.changed") refetch.soon();
});

document.addEventListener("beacon:connection", () => {
  if (missedWhilePaused && !isPaused()) refetch.soon();
});

setInterval(() => {
  if (!document.hidden) refetch.soon();
}, REFETCH_INTERVAL_MS);

setInterval(() => {
  if (!document.hidden && document.querySelector("[data-settling]")) refetch.soon();
}, SETTLING_INTERVAL_MS);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  if (form.matches("[data-look]")) {
    event.preventDefault();
    const given = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form, event.submitter)));
    const query = new URLSearchParams(given);
    copySpan(query);
    showPart(ownAddress(`/rollout?${query}`), "review");
  } else if (form.closest(".rollout")) {
    prepareSubmit(form, event);
  }
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest(".evidence-spans a") : null;
  if (!(link instanceof HTMLAnchorElement) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const query = new URLSearchParams(location.search);
  const minutes = new URL(link.href).searchParams.get("minutes");
  if (minutes) query.set("minutes", minutes);
  else query.delete("minutes");
  showPart(ownAddress(`/rollout${query.size > 0 ? `?${query}` : ""}`), "evidence");
});

/**
 * Submits a double click once, and adds the current time span to the form's URL.
 * @param {HTMLFormElement} form
 * @param {SubmitEvent} event
 */
function prepareSubmit(form, event) {
  const pressed = event.submitter;
  const at = Number(pressed?.dataset.sentAt ?? -DOUBLE_CLICK_MS);
  if (performance.now() - at < DOUBLE_CLICK_MS) {
    event.preventDefault();
    return;
  }
  if (pressed) pressed.dataset.sentAt = String(performance.now());
  const address = new URL(form.action);
  copySpan(address.searchParams);
  form.action = address.href;
}

/** @param {URLSearchParams} query */
function copySpan(query) {
  const minutes = new URLSearchParams(location.search).get("minutes");
  if (minutes) query.set("minutes", minutes);
  else query.delete("minutes");
}

/** The query parameters of each part of the page. */
const PART_PARAMS = { review: ["percentage", "on"], evidence: ["minutes"] };
/** @type {Record<string, number>} */
const requestNumbers = { review: 0, evidence: 0 };

/**
 * Replaces this part of the page by the one at another URL. The last request wins.
 * @param {string} address
 * @param {"review" | "evidence"} part
 */
async function showPart(address, part) {
  requestNumbers[part] = (requestNumbers[part] ?? 0) + 1;
  const [mine, before] = [requestNumbers[part], location.search];
  history.replaceState(null, "", address);
  try {
    const fresh = await loadPart(part);
    if (requestNumbers[part] === mine) replacePart(fresh, part);
  } catch {
    if (requestNumbers[part] !== mine) return;
    restoreAddress(part, before);
    showError(part, address);
  }
}

/**
 * Loads a part of the page from its current URL.
 * @param {string} part
 * @returns {Promise<HTMLElement>}
 */
function loadPart(part) {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("no answer")), TIMEOUT_MS);
    /** @type {HTMLElement | null} */
    let found = null;
    const take = (/** @type {ParentNode} */ page) => { found = page.querySelector(`#${part}`); };
    reloadRegions(take, () => false).then(() => (found ? resolve(found) : reject(new Error("another page"))), reject);
  });
}

/**
 * @param {HTMLElement} fresh
 * @param {"review" | "evidence"} part
 */
function replacePart(fresh, part) {
  const shown = document.getElementById(part);
  if (!shown) return;
  const [reason, next] = [shown, fresh].map((one) => /** @type {HTMLInputElement | null} */ (one.querySelector("#reason")));
  if (reason && next) next.value = reason.value;
  const focused = part === "review" ? "review-title" : shown.contains(document.activeElement) && document.activeElement?.id;
  shown.replaceWith(document.adoptNode(fresh));
  if (focused) /** @type {HTMLElement | null} */ (fresh.querySelector(`#${focused}`))?.focus();
}

/**
 * Restores a part's parameters in the URL; other parts may have changed meanwhile.
 * @param {"review" | "evidence"} part
 * @param {string} before
 */
function restoreAddress(part, before) {
  const [now, was] = [new URL(location.href), new URLSearchParams(before)];
  for (const name of PART_PARAMS[part]) {
    const value = was.get(name);
    if (value === null) now.searchParams.delete(name);
    else now.searchParams.set(name, value);
  }
  history.replaceState(null, "", now.pathname + now.search);
}

/**
 * Shows the error in its part of the page; input and buttons stay.
 * @param {string} part
 * @param {string} address
 */
function showError(part, address) {
  const place = document.getElementById(part);
  if (!place) return;
  place.querySelector(".not-asked")?.remove();
  const words = document.createElement("p");
  words.className = "message not-asked";
  words.dataset.state = "error";
  words.setAttribute("role", "alert");
  const link = document.createElement("a");
  link.href = `${address}#${part}`;
  link.textContent = "Open it as a page";
  words.append("Beacon did not answer: nothing was set, and what is shown here is as before. Ask again, or ", link, ".");
  place.prepend(words);
}
