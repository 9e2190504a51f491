// @ts-check
/**
 * The button that has the whole chain verified: how far the reading is, as a bar that nobody is read aloud, and in the
 * end what was found, as icon and word. A chain that does not hold interrupts.
 *
 * @typedef {"verified" | "broken" | "failed"} Ending
 */

const PROGRESS = /^(\d+) of (\d+)$/;
/** Which head from outside the chain was held against; told before the end. */
let compared = "";
const BROKE_OFF = "The answer broke off. Try again.";
const BUSY = "Another verification of the chain is running. Try again when it is finished.";

export function watchVerify() {
  const form = /** @type {HTMLFormElement | null} */ (document.getElementById("verify"));
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    verify(form).catch(() => end("failed", BROKE_OFF));
  });
}

/** @param {HTMLFormElement} form */
async function verify(form) {
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  button.disabled = true;
  begin();
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
    if (!answer.ok || !answer.body) {
      end("failed", answer.status === 409 ? BUSY : `It could not be verified (${answer.status}).`);
      return;
    }
    if (!(await follow(answer.body))) end("failed", BROKE_OFF);
  } finally {
    button.disabled = false;
    progress().hidden = true;
    element("verify-count").hidden = true;
  }
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {Promise<boolean>} whether it was told to its end
 */
async function follow(body) {
  let [rest, ended] = ["", false];
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) ended = told(line) || ended;
  }
  return ended;
}

/**
 * @param {string} line
 * @returns {boolean} whether it is the last one
 */
function told(line) {
  const [, done, whole] = PROGRESS.exec(line) ?? [];
  if (done !== undefined) {
    progress().max = Math.max(1, Number(whole));
    progress().value = Number(done);
    element("verify-count").textContent = `${Number(done).toLocaleString("en-GB")} of ${Number(whole).toLocaleString("en-GB")} entries`;
    return false;
  }
  if (line.startsWith("compared: ")) {
    compared = line.slice("compared: ".length);
    return false;
  }
  if (line.startsWith("broken: ")) end("broken", line.slice("broken: ".length));
  else if (line.startsWith("cannot tell: ")) end("failed", line);
  else end("verified", compared ? `${line}; ${compared}` : line);
  return true;
}

function begin() {
  compared = "";
  progress().removeAttribute("value"); // how many there are is told with the first page
  progress().hidden = false;
  element("verify-count").textContent = "";
  element("verify-count").hidden = false;
  element("verify-wrong").hidden = true;
  element("verified").textContent = "Verifying…";
}

/**
 * @param {Ending} how
 * @param {string} words
 */
function end(how, words) {
  const isWell = how === "verified";
  const place = element(isWell ? "verified" : "verify-wrong");
  const look = /** @type {HTMLTemplateElement} */ (element(`verify-look-${how}`));
  if (!isWell) element("verified").textContent = "";
  place.replaceChildren(look.content.cloneNode(true), ` ${words}`);
  place.hidden = false;
}

function progress() {
  return /** @type {HTMLProgressElement} */ (element("verify-progress"));
}

/** @param {string} id */
function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
