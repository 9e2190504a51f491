// @ts-check
import { Refetch } from "../refetch.js";
import { isPaused, reload } from "./reload.js";

/**
 * The page of the rollout: its own script. What it shows is loaded again when the flag changed, and now and then, for what
 * no event tells of: who is online, what browsers report. Who would switch, and another span of the evidence, are asked for
 * without leaving the page: what is half typed stays, and the kill switch stays on the screen whatever becomes of it.
 */

const JITTER_MS = 500; // everybody who looks at it hears of a change at once
const EVERY_MS = 15_000;
const TIMEOUT_MS = 10_000;
/** A second press within this time is the first one's. */
const SENDING_MS = 5_000;

let missed = false;
const refetch = new Refetch(async () => {
  missed = isPaused();
  if (!missed) await reload(() => {}, (region) => region.startsWith("rollout-"));
}, JITTER_MS);

document.addEventListener("beacon:signal", (event) => {
  const { type } = /** @type {CustomEvent<{ type?: unknown }>} */ (event).detail;
  if (type === "flag.changed") refetch.soon();
});

document.addEventListener("beacon:connection", () => {
  if (missed && !isPaused()) refetch.soon();
});

setInterval(() => {
  if (!document.hidden) refetch.soon();
}, EVERY_MS);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  if (form.matches("[data-look]")) {
    event.preventDefault();
    const given = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form, event.submitter)));
    const query = new URLSearchParams(given);
    keepSpan(query);
    show(`/rollout?${query}`, "review");
  } else if (form.closest(".rollout")) {
    send(form, event);
  }
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest(".evidence-spans a") : null;
  if (!(link instanceof HTMLAnchorElement) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const query = new URLSearchParams(location.search);
  query.set("minutes", link.id.replace("span-", ""));
  show(`/rollout?${query}`, "evidence");
});

/**
 * Once: a double click is one press. The address it is sent to has the span that is looked at by now.
 * @param {HTMLFormElement} form
 * @param {SubmitEvent} event
 */
function send(form, event) {
  const pressed = event.submitter;
  const at = Number(pressed?.dataset.sentAt ?? -SENDING_MS);
  if (performance.now() - at < SENDING_MS) {
    event.preventDefault();
    return;
  }
  if (pressed) pressed.dataset.sentAt = String(performance.now());
  const address = new URL(form.action);
  keepSpan(address.searchParams);
  form.action = address.href;
}

/** @param {URLSearchParams} query */
function keepSpan(query) {
  const minutes = new URLSearchParams(location.search).get("minutes");
  if (minutes) query.set("minutes", minutes);
  else query.delete("minutes");
}

/** @type {Record<string, AbortController>} */
const asking = {};

/**
 * Shows this part of the page at another address in the place of the one there is. The last one asked for wins.
 * @param {string} address
 * @param {"review" | "evidence"} part
 */
async function show(address, part) {
  asking[part]?.abort();
  const mine = new AbortController();
  asking[part] = mine;
  const timer = setTimeout(() => mine.abort(), TIMEOUT_MS);
  try {
    const fresh = await fetched(address, part, mine.signal);
    if (asking[part] === mine) put(fresh, part, address);
  } catch {
    if (asking[part] === mine) complain(part, address);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {string} address
 * @param {string} part
 * @param {AbortSignal} signal
 */
async function fetched(address, part, signal) {
  const answer = await fetch(address, { headers: { Accept: "text/html" }, signal });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.getElementById(part);
  if (!found || page.body.dataset.session !== document.body.dataset.session) throw new Error("another page");
  return found;
}

/**
 * @param {HTMLElement} fresh
 * @param {"review" | "evidence"} part
 * @param {string} address
 */
function put(fresh, part, address) {
  const shown = document.getElementById(part);
  if (!shown) return;
  const [reason, next] = [shown, fresh].map((one) => /** @type {HTMLInputElement | null} */ (one.querySelector("#reason")));
  if (reason && next) next.value = reason.value;
  const focused = part === "evidence" ? document.activeElement?.id : "review-title";
  shown.replaceWith(document.adoptNode(fresh));
  const now = new URL(address, location.href);
  if (part === "evidence") keepReview(now);
  history.replaceState(null, "", now.pathname + now.search);
  if (focused && fresh.contains(document.getElementById(focused))) document.getElementById(focused)?.focus();
}

/**
 * The review that is shown by now, whatever was when the evidence was asked for.
 * @param {URL} address
 */
function keepReview(address) {
  const minutes = address.searchParams.get("minutes");
  address.search = location.search;
  if (minutes && minutes !== "60") address.searchParams.set("minutes", minutes);
  else address.searchParams.delete("minutes");
}

/**
 * Where it was asked for; what was typed and what can be pressed stays.
 * @param {string} part
 * @param {string} address
 */
function complain(part, address) {
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
