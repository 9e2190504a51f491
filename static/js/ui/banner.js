// @ts-check
import { loginAddress } from "./connection_badge.js";
import { showToast } from "./toast_queue.js";
import { chooseBanner } from "./banner_text.js";
import { connectionStatus } from "../connection/status.js";
import { clock } from "../lib/time_text.js";

/** @type {Record<import("./banner_text.js").Action, string>} */
const ACTION_LABELS = { login: "Log in", reload: "Reload", reconnect: "Reconnect" };

/** The banner below the bar: what is wrong with the connection, since when, and what the reader can do. */
export class Banner {
  #place;
  #pollMs;
  #actions;
  #updated = false;
  #otherUserName = "";
  #silentSince = "";
  #toastShown = false;

  /**
   * @param {HTMLElement} place
   * @param {number} pollMs
   * @param {() => void} reconnect
   */
  constructor(place, pollMs, reconnect) {
    this.#place = place;
    this.#pollMs = pollMs;
    this.#actions = { reconnect, reload: () => location.reload(), login: () => location.assign(loginAddress()) };
    document.addEventListener("beacon:unheard", (event) => {
      const since = /** @type {CustomEvent<number | null>} */ (event).detail;
      this.#silentSince = since === null ? "" : clock(new Date(since));
      this.#show();
    });
    connectionStatus.subscribe((now) => {
      this.#show();
      this.#showToastOnce(now);
    });
  }

  /** The server runs another build than this page. */
  updated() {
    this.#updated = true;
    this.#show();
  }

  /** @param {string} name  who is logged in now */
  otherUser(name) {
    this.#otherUserName = name;
    this.#show();
  }

  /**
   * One toast per outage, however often a stream opens and closes meanwhile.
   * @param {import("../connection/status.js").Status} status
   */
  #showToastOnce({ state, reason, failures }) {
    if (state === "connected" && failures === 0) this.#toastShown = false;
    if (reason !== "exhausted" || this.#toastShown) return;
    this.#toastShown = true;
    showToast({ severity: "warning", text: "Live updates paused: the connection could not be had again." });
  }

  #show() {
    const { state, reason, since } = connectionStatus.value;
    const situation = { state, reason, since: clock(new Date(since)), pollMs: this.#pollMs, updated: this.#updated, unheardSince: this.#silentSince, person: this.#otherUserName };
    const notice = chooseBanner(situation);
    this.#place.hidden = notice === null;
    if (!notice || this.#place.dataset.shown === notice.text) return;
    this.#place.dataset.shown = notice.text;
    this.#place.dataset.notice = notice.name;
    this.#place.dataset.state = notice.look;
    this.#place.replaceChildren(paragraph(notice.text), this.#button(notice.action));
  }

  /** @param {import("./banner_text.js").Action} action */
  #button(action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = ACTION_LABELS[action];
    button.addEventListener("click", this.#actions[action]);
    return button;
  }
}

/** @param {string} text */
function paragraph(text) {
  const line = document.createElement("p");
  line.textContent = text;
  return line;
}
