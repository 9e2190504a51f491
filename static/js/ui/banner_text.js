// @ts-check
import { SILENT_ENDINGS } from "../connection/policy.js";

/** Chooses the banner below the bar, if any: one at a time, the worst first. Pure. */

/**
 * @typedef {"login" | "reload" | "reconnect"} Action
 * @typedef {{ name: string, look: string, text: string, action: Action }} BannerContent
 *
 * @typedef {object} BannerInput
 * @property {import("../connection/policy.js").State} state
 * @property {string} reason
 * @property {string} since  the time of day when it began
 * @property {number} pollMs
 * @property {boolean} updated  the server runs another build
 * @property {string} unheardSince  the time of day since when Beacon is silent; empty if it is not
 * @property {string} person  who is logged in now, if it is somebody else
 */

/**
 * @param {BannerInput} situation
 * @returns {BannerContent | null}
 */
export function chooseBanner({ state, reason, since, pollMs, updated, unheardSince, person }) {
  if (reason === "other-user") {
    return { name: "other-user", look: "offline", text: `Now signed in as ${person || "somebody else"}. This page is from before; reload it.`, action: "reload" };
  }
  if (reason === "signed-out") {
    return { name: "signed-out", look: "offline", text: `Signed out since ${since}. What you see is from before.`, action: "login" };
  }
  if (state === "offline") return { name: "offline", look: "offline", text: offlineText(reason, since), action: "reconnect" };
  if (unheardSince) {
    const text = `No news from Beacon since ${unheardSince}. What you see is from then, and the page goes on trying.`;
    return { name: "unheard", look: "offline", text, action: "reconnect" };
  }
  if (state === "polling" && reason !== "flag-off") {
    const why = SILENT_ENDINGS.includes(reason) ? ", perhaps because of a proxy in between" : "";
    const text = `Live updates paused since ${since}${why}. The page asks for changes every ${pollMs / 1_000} s; everything else works.`;
    return { name: "polling", look: "polling", text, action: "reconnect" };
  }
  if (updated) return { name: "updated", look: "info", text: "Beacon was updated. Reload to use the new version.", action: "reload" };
  return null;
}

/**
 * @param {string} reason
 * @param {string} since
 */
function offlineText(reason, since) {
  const what = reason === "no-network" ? "This computer has no network" : "The server cannot be reached";
  return `Offline since ${since}. ${what}; what you see is from before, and the page goes on trying.`;
}
