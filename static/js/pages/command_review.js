// @ts-check
/** The review of a bulk command says how many more targets there are by now; the count seen first is what is sent. */

const POLL_INTERVAL_MS = 3_000;
const TIMEOUT_MS = 10_000;
/** Fields of this review alone, which are left out when asking for the current count. */
const REVIEW_FIELDS = ["csrf_token", "commandId", "confirmed", "typed", "expectedCount", "asOf"];

export function watchReviewCount() {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-review][data-seen]"));
  if (!form) return;
  let looking = false;
  setInterval(() => {
    if (document.hidden || looking) return; // one request at a time, because the service may be slow
    looking = true;
    fetchCount(form).catch(() => {}).finally(() => { looking = false; }); // the connection's badge says what is wrong
  }, POLL_INTERVAL_MS);
}

/** @param {HTMLFormElement} form */
async function fetchCount(form) {
  const asked = new FormData(form);
  for (const name of REVIEW_FIELDS) asked.delete(name);
  const query = new URLSearchParams([...asked].map(([name, value]) => [name, String(value)]));
  const options = { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const answer = await fetch(`${form.action}/review?${query}`, options);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = Number(/** @type {HTMLElement | null} */ (page.querySelector("form[data-now]"))?.dataset.now);
  showGrowth(Math.max(0, now - Number(form.dataset.seen)));
}

/** @param {number} more */
function showGrowth(more) {
  const place = document.getElementById("growth");
  if (!place || !Number.isFinite(more)) return;
  const words = `${more.toLocaleString("en-GB")} more since you opened this.`;
  if (place.textContent !== words) place.textContent = words;
  place.hidden = more === 0;
}
