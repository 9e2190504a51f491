// @ts-check
/**
 * The button that verifies the whole chain: a progress bar, which is not read aloud, and then the result as icon and word. A
 * broken chain interrupts a screen reader.
 *
 * @typedef {"verified" | "broken" | "failed"} Result
 */

const PROGRESS = /^(\d+) of (\d+)$/;
/** Which external head the chain was compared with; sent before the result. */
let compared = "";
const INTERRUPTED = "The answer broke off. Try again.";
const BUSY = "Another verification of the chain is running. Try again when it is finished.";

export function watchVerification() {
  const form = /** @type {HTMLFormElement | null} */ (document.getElementById("verify"));
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    runVerification(form).catch(() => showResult("failed", INTERRUPTED));
  });
}

/** @param {HTMLFormElement} form */
async function runVerification(form) {
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  button.disabled = true;
  showStart();
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
    if (!answer.ok || !answer.body) {
      showResult("failed", answer.status === 409 ? BUSY : `It could not be verified (${answer.status}).`);
      return;
    }
    if (!(await readProgress(answer.body))) showResult("failed", INTERRUPTED);
  } finally {
    button.disabled = false;
    progressBar().hidden = true;
    requireElement("verify-count").hidden = true;
  }
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {Promise<boolean>} whether the result was received
 */
async function readProgress(body) {
  let [rest, ended] = ["", false];
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) ended = handleLine(line) || ended;
  }
  return ended;
}

/**
 * @param {string} line
 * @returns {boolean} whether it is the result
 */
function handleLine(line) {
  const [, done, whole] = PROGRESS.exec(line) ?? [];
  if (done !== undefined) {
    progressBar().max = Math.max(1, Number(whole));
    progressBar().value = Number(done);
    requireElement("verify-count").textContent = `${Number(done).toLocaleString("en-GB")} of ${Number(whole).toLocaleString("en-GB")} entries`;
    return false;
  }
  if (line.startsWith("compared: ")) {
    compared = line.slice("compared: ".length);
    return false;
  }
  if (line.startsWith("broken: ")) showResult("broken", line.slice("broken: ".length));
  else if (line.startsWith("cannot tell: ")) showResult("failed", line);
  else showResult("verified", compared ? `${line}; ${compared}` : line);
  return true;
}

function showStart() {
  compared = "";
  progressBar().removeAttribute("value"); // the total comes with the first line
  progressBar().hidden = false;
  requireElement("verify-count").textContent = "";
  requireElement("verify-count").hidden = false;
  requireElement("verify-wrong").hidden = true;
  requireElement("verified").textContent = "Verifying…";
}

/**
 * @param {Result} how
 * @param {string} words
 */
function showResult(how, words) {
  const isWell = how === "verified";
  const place = requireElement(isWell ? "verified" : "verify-wrong");
  const look = /** @type {HTMLTemplateElement} */ (requireElement(`verify-look-${how}`));
  if (!isWell) requireElement("verified").textContent = "";
  place.replaceChildren(look.content.cloneNode(true), ` ${words}`);
  place.hidden = false;
}

function progressBar() {
  return /** @type {HTMLProgressElement} */ (requireElement("verify-progress"));
}

/** @param {string} id */
function requireElement(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
