// @ts-check
/** The sentence above the tiles. app/web/dashboard/summary_text.py says the same for the first render. Pure. */

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

/** More names than this are not listed. */
const MAX_NAMES = 3;

/**
 * Which services changed, and to what, worst first: "Mail is in discrepancy. Search and Thumbnails are stale." A new service
 * is only mentioned if something is wrong with it.
 * @param {ReadonlyMap<string, string>} before  states by name
 * @param {ReadonlyMap<string, string>} now
 * @returns {string}
 */
export function describeChanges(before, now) {
  const changed = [...now].filter(([name, state]) => state !== (before.get(name) ?? defaultState(state)));
  const sentences = Object.entries(WORDS).map(([state, words]) => {
    const names = changed.filter(([, one]) => one === state).map(([name]) => name);
    return names.length > 0 ? `${joinNames(names)} ${words}.` : "";
  });
  return sentences.filter(Boolean).join(" ");
}

/** @param {string} state */
function defaultState(state) {
  return state === "discrepancy" || state === "stale" ? "verified" : state;
}

/** @param {string[]} names */
function joinNames(names) {
  if (names.length === 1) return `${names[0]} is`;
  const said = names.length > MAX_NAMES ? [...names.slice(0, MAX_NAMES), "others"] : names;
  return `${said.slice(0, -1).join(", ")} and ${said.at(-1)} are`;
}
