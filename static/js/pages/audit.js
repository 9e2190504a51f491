// @ts-check
import { HeldList } from "./heldlist.js";

/**
 * The page of the audit: its own script. Most entries have no event that everybody may see, so it asks for the number of the
 * newest one while somebody looks at it; and the button shows how far the reading of the chain is.
 */

const EVERY_MS = 2_000;
const JITTER_MS = 200;
const TIMEOUT_MS = 10_000;

/** @type {import("./heldlist.js").Kind} */
const AUDIT = {
  link: "audit-new",
  list: (root) => root.querySelector("#audit"),
  wants: (region) => region.startsWith("audit"),
  isLater: (list) => list.hasAttribute("data-later"),
  newOn: (shown, fresh) => (AUDIT.isLater(shown) ? Math.max(0, head(fresh) - head(shown)) : rows(fresh).filter((row) => !rows(shown).includes(row)).length),
};

const held = new HeldList(AUDIT, JITTER_MS);
let told = head(AUDIT.list(document));
setInterval(look, EVERY_MS);

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("verify"));
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  verify(form).catch(() => say("The answer broke off. Try again."));
});

async function look() {
  if (document.hidden || document.documentElement.dataset.connection === "paused") return;
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

/** @param {HTMLFormElement} asked */
async function verify(asked) {
  const button = /** @type {HTMLButtonElement} */ (asked.querySelector("button"));
  button.disabled = true;
  say("Verifying…");
  try {
    const answer = await fetch(asked.action, { method: "POST", body: new FormData(asked), headers: { Accept: "application/json" } });
    if (!answer.ok || !answer.body) {
      say(answer.status === 409 ? "Somebody has the chain verified just now. Try again when that is over." : `It could not be verified (${answer.status}).`);
      return;
    }
    let text = "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      text = (text + piece.value).split("\n").slice(-2).join("\n");
      say(text.split("\n").findLast((line) => line !== "") ?? "");
    }
  } finally {
    button.disabled = false;
  }
}

/** @param {string} text */
function say(text) {
  const shown = document.getElementById("verified");
  if (shown) shown.textContent = text;
}

/** @param {HTMLElement | null} list */
function head(list) {
  return Number(list?.dataset.head ?? 0);
}

/** @param {Element} list */
function rows(list) {
  const found = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-seq]"));
  return [...found].map((row) => row.dataset.seq ?? "");
}
