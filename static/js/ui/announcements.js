// @ts-check
/** The page's one polite sentence for people who listen instead of looking. */

const DELAY_MS = 1_000;

/** @typedef {string | (() => string)} Sentence  made when it is said, where what it tells of may have changed by then */

/** @type {Map<string, Sentence>} */
const pending = new Map();

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Only the last of what happens to one thing within a second is said: a connection that comes back at once is no news.
 * @param {Sentence} sentence
 * @param {string} [about]  what it tells of: each thing has its own last sentence
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
