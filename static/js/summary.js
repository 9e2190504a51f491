// @ts-check
/** The sentence above the tiles. app/dashboard/summary.py says the same for the first render. Pure. */

/** Worst first. */
/** @type {Record<string, string>} */
const WORDS = { discrepancy: "in discrepancy", stale: "stale", unknown: "not checked yet", verified: "verified" };

/**
 * @param {string[]} states  one for each service
 * @returns {{ state: string, words: string, wrong: number }}
 */
export function summarise(states) {
  /** @param {string} state */
  const count = (state) => states.filter((one) => one === state).length;
  const state = Object.keys(WORDS).find((one) => count(one) > 0) ?? "unknown";
  return { state, words: sentence(states.length, count), wrong: count("discrepancy") + count("stale") };
}

/**
 * @param {number} total
 * @param {(state: string) => number} count
 */
function sentence(total, count) {
  if (total === 0) return "No service is watched yet";
  if (count("verified") === total) return total === 1 ? "1 service verified" : `All ${total} services verified`;
  const parts = Object.entries(WORDS).filter(([state]) => count(state) > 0).map(([state, words]) => `${count(state)} ${words}`);
  return `${total} ${total === 1 ? "service" : "services"}: ${parts.join(", ")}`;
}
