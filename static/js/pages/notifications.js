// @ts-check
import { REFETCH_SPREAD_MS, countLeading, concernsNotifications } from "../notifications/bell.js";
import { HeldList } from "./pausable_list.js";

/** The page of notifications: its own script. */

const REGIONS = new Set(["notifications", "notifications-head", "notifications-pages", "mutes"]);

/** @type {import("./pausable_list.js").Kind} */
const NOTICES = {
  link: "notifications-new",
  list: (root) => root.querySelector("[data-region=notifications]"),
  wants: (region) => REGIONS.has(region),
  isLater: (list) => Number(list.dataset.page) > 1,
  newOn: (shown, fresh) => {
    if (NOTICES.isLater(shown)) return Math.max(0, Number(fresh.dataset.total) - Number(shown.dataset.total));
    return countLeading(new Set(ids(shown)), ids(fresh));
  },
};

const held = new HeldList(NOTICES, REFETCH_SPREAD_MS);
document.addEventListener("beacon:signal", (event) => {
  if (concernsNotifications(/** @type {CustomEvent} */ (event).detail)) held.soon();
});

/** @param {Element} list */
function ids(list) {
  const rows = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-notice]"));
  return [...rows].map((row) => row.dataset.notice ?? "");
}
