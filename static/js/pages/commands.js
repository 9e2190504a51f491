// @ts-check
import { showToast } from "../toast.js";
import { confirmed } from "./confirm.js";
import { answered, intentId } from "./intent.js";
import { watchReview } from "./review.js";
import { watchScope } from "./scope.js";

/**
 * Buttons that give commands: what was pressed shows at once, what was observed follows by the stream. Without this
 * script the same forms lead to the same place.
 *
 * @typedef {{ form: HTMLFormElement, button: HTMLElement | null, body: FormData, key: string, action: string, target: string }} Press
 * @typedef {{ commandId: string, link: string }} Taken
 */

const TIMEOUT_MS = 20_000;
const DOING = /** @type {Record<string, string>} */ ({ "retry-job": "retrying…", "delete-job": "deleting…" });
const ENDED = new Set(["success", "error", "timeout"]);

/** What is on its way: a second press of it is none. @type {Set<string>} */
const under = new Set();
/** My own commands whose end I have not been told of. @type {Map<string, string>} */
const mine = new Map();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.matches("[data-commands]")) return;
  const press = pressOf(form, event.submitter);
  if (press.body.has("look") || needsReview(press)) return; // a page of the server's
  event.preventDefault();
  if (press.button?.getAttribute("aria-disabled") === "true") return; // it is being done
  give(press).catch(() => failed(press, "That did not reach the service. Press again: it is done once, however often it is sent."));
});
document.addEventListener("htmx:before:swap", (event) => {
  for (const { fragment } of /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks)) tellEnd(fragment);
});
watchScope();
watchReview();

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} button
 * @returns {Press}
 */
function pressOf(form, button) {
  const body = new FormData(form, button);
  const [action = "", ...rest] = String(body.get("do") ?? "").split(":");
  const told = [...body].filter(([name]) => name !== "csrf_token" && name !== "nonce" && name !== "commandId");
  if (rest.length > 0) body.delete("jobIds"); // the row's own button means its row
  if (body.get("scope") !== "page" || rest.length > 0) body.delete("pageIds");
  return { form, button, body, key: `${form.action} ${JSON.stringify(told)}`, action, target: rest.join(":") };
}

/** @param {Press} press */
function needsReview({ form, action, target }) {
  return !("review" in form.dataset) && action !== "retry-job" && (action !== "delete-job" || target === "");
}

/** @param {Press} press */
async function give(press) {
  if (under.has(press.key)) return;
  under.add(press.key);
  try {
    if (press.action === "delete-job" && !press.body.has("confirmed")) {
      if (!(await confirmed(loss(press)))) return;
      press.body.set("confirmed", "1");
    }
    await send(press);
  } finally {
    under.delete(press.key);
  }
}

/** @param {Press} press */
async function send(press) {
  const id = intentId(press.key, String(press.body.get("commandId") ?? ""));
  press.body.set("commandId", id);
  mine.set(id, press.target);
  const done = showDoing(press, id);
  const response = await fetch(press.form.action, { method: "POST", body: press.body, headers: { Accept: "application/json" }, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
  const told = await response.json().catch(() => ({}));
  if (response.status === 202) {
    answered(press.key);
    taken(press, told);
    return;
  }
  if (response.status >= 400 && response.status < 500) answered(press.key); // nothing was done; pressing again is another try
  mine.delete(id);
  done(false);
  if (response.type === "opaqueredirect") failed(press, "You are not logged in any more. Log in again in another tab, then press again.");
  else failed(press, String(told.detail ?? `The answer was ${response.status}.`), told.link);
}

/**
 * @param {Press} press
 * @param {Taken} told
 */
function taken({ form, target }, { link }) {
  if ("review" in form.dataset || target === "") location.assign(link);
}

/** @param {Press} press */
function loss({ form, target }) {
  const service = form.dataset.service ?? "the service";
  return { title: `Delete job ${target}?`, words: `${service} removes it for good; nothing brings it back.`, verb: `Delete 1 job from ${service}` };
}

/**
 * In the row, at once; the stream writes into the same place from then on.
 * @param {Press} press
 * @param {string} id
 * @returns {(keep: boolean) => void}
 */
function showDoing({ form, button, action }, id) {
  const row = button?.closest("tr");
  const buttons = row ? /** @type {NodeListOf<HTMLButtonElement>} */ (row.querySelectorAll(".act-on")) : [button].filter((one) => one instanceof HTMLButtonElement);
  const place = /** @type {HTMLElement | null} */ (row?.querySelector(".acted") ?? null);
  if (place) {
    place.id = `command-${id}`;
    place.textContent = DOING[action] ?? "sending…";
  } else form.setAttribute("aria-busy", "true");
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  return (keep) => {
    for (const one of buttons) one.removeAttribute("aria-disabled");
    form.removeAttribute("aria-busy");
    if (place && !keep) place.replaceChildren();
  };
}

/**
 * @param {Press} press
 * @param {string} detail
 * @param {string} [link]
 */
function failed({ form, button }, detail, link) {
  form.removeAttribute("aria-busy");
  for (const one of button?.closest("tr")?.querySelectorAll(".act-on") ?? []) one.removeAttribute("aria-disabled");
  const place = button?.closest("tr")?.querySelector(".acted");
  if (place && place.querySelector("[data-phase]") === null) place.textContent = "not sent";
  const box = "review" in form.dataset ? document.getElementById("refused") : null;
  if (!box) {
    showToast({ severity: "error", text: detail });
    return;
  }
  box.replaceChildren(detail);
  if (link) {
    const other = document.createElement("a");
    other.href = link;
    other.textContent = "Look at it";
    box.append(" ", other);
  }
  box.hidden = false;
}

/**
 * The end of my own command: said aloud where it failed.
 * @param {DocumentFragment} fragment
 */
function tellEnd(fragment) {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll("[data-command]"))) {
    const id = one.dataset.command ?? "";
    if (!mine.has(id) || !ENDED.has(one.dataset.phase ?? "")) continue;
    const target = mine.get(id);
    mine.delete(id);
    const words = one.querySelector(".command-said")?.textContent ?? "";
    showToast({ severity: one.dataset.phase === "success" ? "success" : "error", text: target && !words.includes(target) ? `${target}: ${words}` : words });
    for (const button of document.getElementById(`command-${id}`)?.closest("tr")?.querySelectorAll(".act-on") ?? []) button.removeAttribute("aria-disabled");
  }
}
