// @ts-check
import { ownAddress } from "../lib/own_address.js";
import { showToast } from "../ui/toast.js";
import { confirm } from "./confirm_dialog.js";
import { rowButtons, showError, createLink, progressCell, showProgress } from "./command_progress.js";
import { forgetIntent, getCommandId, forgetFinished } from "./command_intent.js";
import { readForm } from "./command_form.js";
import { watchReviewCount } from "./command_review.js";
import { watchSelection } from "./job_selection.js";

/**
 * Buttons that submit commands: a press shows at once, its effect is pushed by the stream. The same forms work without this
 * script.
 *
 * @typedef {import("./command_form.js").Submission} Submission
 * @typedef {{ phase?: string, link?: string, detail?: string }} CommandAnswer
 */

const TIMEOUT_MS = 20_000;
const FINISHED_PHASES = new Set(["success", "error", "timeout"]);
/** It is not known whether the command was accepted, so it is not reported as failed. */
const NO_ANSWER = { word: "No answer", text: "It may have been accepted. Retrying is safe." };
const SIGNED_OUT = "You are not logged in any more. Log in again in another tab, then press again.";

/** Commands that are being sent: a second press is ignored. @type {Set<string>} */
const inFlight = new Set();
/** This user's unfinished commands. @type {Map<string, string>} */
const ownCommands = new Map();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.matches("[data-commands]")) return;
  const submission = readForm(form, event.submitter);
  if (submission.body.has("look") || needsReview(submission)) return; // the server answers with a page
  event.preventDefault();
  if (submission.button?.getAttribute("aria-disabled") === "true") return; // already in progress
  submitCommand(submission);
});
document.addEventListener("htmx:before:swap", (event) => {
  for (const { fragment } of /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks)) handleFinished(fragment);
});
watchSelection();
watchReviewCount();

/** @param {Submission} submission */
function needsReview({ form, button }) {
  return !("review" in form.dataset) && (!button || "review" in button.dataset);
}

/** @param {Submission} submission */
async function submitCommand(submission) {
  if (inFlight.has(submission.key)) return;
  const verb = submission.button?.dataset.confirm;
  if (verb !== undefined && !submission.body.has("confirmed")) {
    if (!(await confirm(deletionWarning(submission, verb))) || inFlight.has(submission.key)) return;
    submission.body.set("confirmed", "1");
  }
  inFlight.add(submission.key);
  try {
    await send(submission);
  } finally {
    inFlight.delete(submission.key);
  }
}

/** @param {Submission} submission */
async function send(submission) {
  const id = getCommandId(submission.key, String(submission.body.get("commandId") ?? ""));
  submission.body.set("commandId", id);
  ownCommands.set(id, submission.target);
  const done = showProgress(submission, id);
  const request = { method: "POST", body: submission.body, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const response = await fetch(submission.form.action, { ...request, redirect: "manual" }).catch(() => null);
  if (response === null) {
    done("no answer");
    if (ownCommands.has(id)) showError(submission, NO_ANSWER); // otherwise the stream has delivered its result
    return;
  }
  const answer = /** @type {CommandAnswer} */ (await response.json().catch(() => ({})));
  if (response.status === 202) onAccepted(submission, id, answer, done);
  else onRefused(submission, id, response, answer, done);
}

/**
 * @param {Submission} submission
 * @param {string} id
 * @param {CommandAnswer} answer  empty, if the answer broke off after its head
 * @param {ReturnType<typeof showProgress>} done
 */
function onAccepted({ form, button, key, target }, id, answer, done) {
  forgetIntent(key);
  const address = answer.link ?? `/commands/${encodeURIComponent(id)}`;
  if ("review" in form.dataset || target === "" || !progressCell(button)) location.assign(ownAddress(address));
  else if (FINISHED_PHASES.has(answer.phase ?? "")) done("Over already: ", createLink(address, "look at it"), ", or press again.");
}

/**
 * @param {Submission} submission
 * @param {string} id
 * @param {Response} response
 * @param {CommandAnswer} answer
 * @param {ReturnType<typeof showProgress>} done
 */
function onRefused(submission, id, response, answer, done) {
  const isRefused = response.status < 500; // a proxy between here and Beacon cannot know the outcome
  if (isRefused) ownCommands.delete(id);
  if (response.status >= 400 && isRefused) forgetIntent(submission.key); // nothing was done, so another press is a new command
  done(isRefused ? "refused" : "no answer");
  if (response.type === "opaqueredirect") showError(submission, { text: SIGNED_OUT });
  else showError(submission, { text: answer.detail ?? `The answer was ${response.status}.` }, answer.link);
}

/**
 * @param {Submission} submission
 * @param {string} verb
 */
function deletionWarning({ form, target }, verb) {
  const service = form.dataset.service ?? "the service";
  return { title: `${verb} job ${target}?`, words: `${service} removes it permanently; this cannot be undone.`, verb: `${verb} 1 job from ${service}` };
}

/**
 * Shows the result of this user's own commands, and forgets the intents of all finished ones.
 * @param {DocumentFragment} fragment
 */
function handleFinished(fragment) {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll("[data-command]"))) {
    const id = one.dataset.command ?? "";
    if (!FINISHED_PHASES.has(one.dataset.phase ?? "")) continue;
    forgetFinished(id);
    if (!ownCommands.has(id)) continue;
    const target = ownCommands.get(id);
    ownCommands.delete(id);
    const words = one.querySelector(".command-said")?.textContent ?? "";
    showToast({ severity: one.dataset.phase === "success" ? "success" : "error", text: target && !words.includes(target) ? `${target}: ${words}` : words });
    const place = document.getElementById(`command-${id}`);
    if (place) for (const button of rowButtons(place)) button.removeAttribute("aria-disabled");
  }
}
