// @ts-check
import { Refetch } from "../lib/refetch.js";
import { isPaused, reloadRegions } from "./region_reload.js";

/**
 * The page of the rollout: its own script. What it shows is loaded again when the flag changed, and now and then, for what
 * no event tells of: who is online, what browsers report. Who would switch, and another span of the evidence, are asked for
 * without leaving the page: what is half typed stays, and the kill switch stays on the screen whatever becomes of it.
 */

const REFETCH_SPREAD_MS = 500; // everybody who looks at it hears of a change at once
const REFETCH_INTERVAL_MS = 15_000;
const TIMEOUT_MS = 12_000; // the app's own is shorter, and it may not be there at all
/** A second press within this time is the first one's. */
const DOUBLE_CLICK_MS = 5_000;

// Where a press was refused the page is at the form's own address, at which it cannot be loaded again.
if (location.pathname !== "/rollout") history.replaceState(null, "", `/rollout${location.search}${location.hash}`);

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

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  if (form.matches("[data-look]")) {
    event.preventDefault();
    const given = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form, event.submitter)));
    const query = new URLSearchParams(given);
    copySpan(query);
    showPart(`/rollout?${query}`, "review");
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
  showPart(`/rollout${query.size > 0 ? `?${query}` : ""}`, "evidence");
});

/**
 * Once: a double click is one press. The address it is sent to has the span that is looked at by now.
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

/** Which part of the address says what a part of the page shows. */
const PART_PARAMS = { review: ["percentage", "on"], evidence: ["minutes"] };
/** @type {Record<string, number>} */
const requestNumbers = { review: 0, evidence: 0 };

/**
 * Shows this part of the page at another address in the place of the one there is. The last one asked for wins.
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
 * From the page's address as it is now.
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
 * What is shown is what the address says: the rest of it may have changed meanwhile.
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
 * Where it was asked for; what was typed and what can be pressed stays.
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
