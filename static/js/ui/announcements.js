// @ts-check
/** The page's polite live region for screen readers. */

const DELAY_MS = 1_000;

/** @typedef {string | (() => string)} Sentence  a function is called when the sentence is spoken, because things may have changed by then */

/** @type {Map<string, Sentence>} */
const pending = new Map();

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Only the last sentence about a thing within a second is spoken: a connection that is back at once is no news.
 * @param {Sentence} sentence
 * @param {string} [about]  the thing; each has its own last sentence
 */
export function announce(sentence, about = "connection") {
  pending.set(about, sentence);
  timer ??= setTimeout(announceNow, DELAY_MS);
}

function announceNow() {
  const all = [...pending.values()].map((sentence) => (typeof sentence === "string" ? sentence : sentence()));
  pending.clear();
  timer = undefined;
  const text = all.filter(Boolean).join(" ");
  const place = document.getElementById("announcements");
  if (place && text && place.textContent !== text) place.textContent = text;
}
