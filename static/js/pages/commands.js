// @ts-check
import { showToast } from "../ui/toast.js";
import { confirmed } from "./confirm_dialog.js";
import { buttonsAround, complain, link, placeOf, showDoing } from "./command_progress.js";
import { answered, intentId, settled } from "./command_intent.js";
import { pressOf } from "./command_form.js";
import { watchReview } from "./command_review.js";
import { watchScope } from "./job_selection.js";

/**
 * Buttons that give commands: what was pressed shows at once, what was observed follows by the stream. Without this
 * script the same forms lead to the same place.
 *
 * @typedef {import("./command_form.js").Press} Press
 * @typedef {{ phase?: string, link?: string, detail?: string }} Told
 */

const TIMEOUT_MS = 20_000;
const ENDED = new Set(["success", "error", "timeout"]);
/** It is not known whether the command was accepted, so it is not reported as failed. */
const LOST = { word: "No answer", text: "It may have been accepted. Retrying is safe." };
const SIGNED_OUT = "You are not logged in any more. Log in again in another tab, then press again.";

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
  give(press);
});
document.addEventListener("htmx:before:swap", (event) => {
  for (const { fragment } of /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks)) tellEnd(fragment);
});
watchScope();
watchReview();

/** @param {Press} press */
function needsReview({ form, action, target }) {
  return !("review" in form.dataset) && action !== "retry-job" && (action !== "delete-job" || target === "");
}

/** @param {Press} press */
async function give(press) {
  if (under.has(press.key)) return;
  if (press.action === "delete-job" && !press.body.has("confirmed")) {
    if (!(await confirmed(loss(press))) || under.has(press.key)) return;
    press.body.set("confirmed", "1");
  }
  under.add(press.key);
  try {
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
  const request = { method: "POST", body: press.body, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const response = await fetch(press.form.action, { ...request, redirect: "manual" }).catch(() => null);
  if (response === null) {
    done("no answer");
    if (mine.has(id)) complain(press, LOST); // else the stream has told its end
    return;
  }
  const told = /** @type {Told} */ (await response.json().catch(() => ({})));
  if (response.status === 202) taken(press, id, told, done);
  else refused(press, id, response, told, done);
}

/**
 * @param {Press} press
 * @param {string} id
 * @param {Told} told  nothing, where the answer broke off behind its head
 * @param {ReturnType<typeof showDoing>} done
 */
function taken({ form, button, key, target }, id, told, done) {
  answered(key);
  const address = told.link ?? `/commands/${encodeURIComponent(id)}`;
  if ("review" in form.dataset || target === "" || !placeOf(button)) location.assign(address);
  else if (ENDED.has(told.phase ?? "")) done("Over already: ", link(address, "look at it"), ", or press again.");
}

/**
 * @param {Press} press
 * @param {string} id
 * @param {Response} response
 * @param {Told} told
 * @param {ReturnType<typeof showDoing>} done
 */
function refused(press, id, response, told, done) {
  const isRefused = response.status < 500; // what stands between here and Beacon does not know what became of it
  if (isRefused) mine.delete(id);
  if (response.status >= 400 && isRefused) answered(press.key); // nothing was done; pressing again is another try
  done(isRefused ? "refused" : "no answer");
  if (response.type === "opaqueredirect") complain(press, { text: SIGNED_OUT });
  else complain(press, { text: told.detail ?? `The answer was ${response.status}.` }, told.link);
}

/** @param {Press} press */
function loss({ form, target }) {
  const service = form.dataset.service ?? "the service";
  return { title: `Delete job ${target}?`, words: `${service} removes it permanently; this cannot be undone.`, verb: `Delete 1 job from ${service}` };
}

/**
 * The end of my own command: said aloud where it failed. Of any command, that nobody waits for its answer any more.
 * @param {DocumentFragment} fragment
 */
function tellEnd(fragment) {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll("[data-command]"))) {
    const id = one.dataset.command ?? "";
    if (!ENDED.has(one.dataset.phase ?? "")) continue;
    settled(id);
    if (!mine.has(id)) continue;
    const target = mine.get(id);
    mine.delete(id);
    const words = one.querySelector(".command-said")?.textContent ?? "";
    showToast({ severity: one.dataset.phase === "success" ? "success" : "error", text: target && !words.includes(target) ? `${target}: ${words}` : words });
    const place = document.getElementById(`command-${id}`);
    if (place) for (const button of buttonsAround(place)) button.removeAttribute("aria-disabled");
  }
}
