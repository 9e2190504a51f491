// @ts-check
/** Describes the connection's state in words. Pure. */

/** What each reason means. */
/** @type {Record<string, string>} */
const REASON_SENTENCES = {
  starting: "The page is opening its live connection.",
  live: "Changes show the moment they happen.",
  lost: "The live connection was lost; trying again, and asking the server meanwhile.",
  silence: "Nothing was heard for too long; trying again, and asking the server meanwhile.",
  "no-hello": "The connection opened but stays silent, perhaps because of a proxy in between; trying again.",
  "wrong-type": "Something other than Beacon answered, perhaps a proxy or its login page; trying again.",
  gateway: "A proxy in between cannot reach Beacon, and answers in its place; trying again.",
  refused: "The server cannot take a live connection just now; trying again, and asking it meanwhile.",
  late: "Changes come late, perhaps because of a proxy in between; trying again, and asking the server meanwhile.",
  degraded: "Beacon cannot reach its database and goes on trying. What you see is from before.",
  drain: "The server is restarting; the page comes back by itself.",
  lifetime: "The connection is being renewed.",
  slow: "This page fell behind and is catching up.",
  revoked: "The right to this connection is being renewed.",
  "flag-off": "Live updates are not switched on for you; the page asks for changes every few seconds.",
  "switched-on": "Live updates were switched on for you.",
  exhausted: "The live connection cannot be had; the page asks for changes every few seconds.",
  asked: "Trying again, as you asked.",
  woke: "This page is awake again and catches up.",
  "no-network": "This computer has no network. What you see is from before.",
  network: "The network is back; catching up.",
  "signed-out": "You are signed out. What you see is from before.",
  "other-user": "Another login has replaced this one. What you see is from before.",
};

/** @type {Record<string, string>} */
const STATE_WORDS = { connected: "Connected", reconnecting: "Reconnecting", polling: "Polling", offline: "Offline" };

/** For reasons that say more than the state. */
/** @type {Record<string, string>} */
const REASON_WORDS = { starting: "Connecting", degraded: "Database away", "signed-out": "Signed out", "other-user": "Signed out" };

/**
 * @typedef {import("../connection/status.js").Status} Status
 * @typedef {{ look: string, word: string, sentence: string, spoken?: string }} ConnectionText  `look` names icon and colour; `spoken` is
 *   the word for screen readers, if `word` changes every second
 */

/**
 * @param {Pick<Status, "state" | "reason" | "paused" | "broken"> & { lateS?: number }} status
 * @returns {ConnectionText}
 */
export function describeConnection({ state, reason, paused, broken, lateS = 0 }) {
  const sentence = reasonSentence(state, reason);
  if (broken) return { look: "error", word: "Display error", sentence: `Some events could not be shown and the page was loaded again instead. ${sentence}` };
  if (paused && state === "connected") return { look: "paused", word: "Paused", sentence: "You paused this tab: what comes in is kept until you resume." };
  if (reason === "late") return { look: "reconnecting", word: `Late by ${lateS} s`, sentence, spoken: "Late" };
  const word = `${REASON_WORDS[reason] ?? STATE_WORDS[state] ?? state}${paused && state === "polling" ? ", paused" : ""}`; // a paused list must not look up to date
  return { look: reason === "degraded" ? "reconnecting" : state, word, sentence }; // without its database Beacon has no news to stream
}

/**
 * @param {string} state
 * @param {string} reason
 */
function reasonSentence(state, reason) {
  if (state === "offline" && (reason === "exhausted" || reason === "flag-off")) return "The server cannot be reached; trying on.";
  return REASON_SENTENCES[reason] ?? REASON_SENTENCES.lost ?? "";
}
