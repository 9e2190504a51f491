// @ts-check
/** The page's one polite sentence for people who listen instead of looking. */

const PAUSE_MS = 1_000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Only the last of what happens within a second is said: a connection that comes back at once is no news.
 * @param {string} sentence
 */
export function announce(sentence) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const place = document.getElementById("announcements");
    if (place && place.textContent !== sentence) place.textContent = sentence;
  }, PAUSE_MS);
}
