// @ts-check
import { announce } from "./announce.js";

/** What each reason of the connection's state means, in a sentence. */
/** @type {Record<string, string>} */
const REASONS = {
  starting: "The page is opening its live connection.",
  live: "Changes show the moment they happen.",
  lost: "The live connection was lost; trying again, and asking the server meanwhile.",
  silence: "Nothing was heard for too long; trying again, and asking the server meanwhile.",
  "no-hello": "The connection opened but stays silent, perhaps because of a proxy in between; trying again.",
  refused: "The server cannot take a live connection just now; trying again, and asking it meanwhile.",
  degraded: "Beacon cannot reach its database and goes on trying. What you see is from before.",
  drain: "The server is restarting; the page comes back by itself.",
  lifetime: "The connection is being renewed.",
  slow: "This page fell behind and is catching up.",
  revoked: "The right to this connection is being renewed.",
  "flag-off": "Live updates are not switched on for you; the page asks for changes every few seconds.",
  "switched-on": "Live updates were switched on for you.",
  exhausted: "The live connection cannot be had; the page asks for changes every few seconds.",
  "no-network": "This computer has no network. What you see is from before.",
  network: "The network is back; catching up.",
  "signed-out": "You are signed out. What you see is from before.",
};

/** @type {Record<string, string>} */
const WORDS = { connected: "Connected", reconnecting: "Reconnecting", polling: "Polling", offline: "Offline" };

/** Where the reason says more than the state. */
/** @type {Record<string, string>} */
const REASON_WORDS = { starting: "Connecting", degraded: "Database away", "signed-out": "Signed out" };

/**
 * @param {HTMLElement} badge
 * @param {import("./live.js").Status} status
 */
export function showConnection(badge, { state, reason }) {
  const signedOut = reason === "signed-out";
  const word = REASON_WORDS[reason] ?? WORDS[state] ?? state;
  const unreachable = state === "offline" && (reason === "exhausted" || reason === "flag-off");
  const sentence = unreachable ? "The server cannot be reached; trying on." : (REASONS[reason] ?? REASONS.lost ?? "");
  const look = reason === "degraded" ? "reconnecting" : state; // a stream without news is not what "connected" promises
  badge.dataset.state = look;
  badge.title = sentence;
  badge.querySelector("use")?.setAttribute("href", `#i-${look}`);
  badge.querySelector(".badge-word")?.replaceChildren(signedOut ? loginLink() : word);
  if (reason !== "starting") announce(`${word}. ${sentence}`);
}

function loginLink() {
  const link = document.createElement("a");
  link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = "Signed out: log in";
  return link;
}
