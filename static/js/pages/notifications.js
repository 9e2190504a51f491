// @ts-check
import { countLeading } from "../notifications/bell.js";
import { REFETCH_SPREAD_MS, concernsNotifications } from "../notifications/signals.js";
import { PausableList } from "./pausable_list.js";

/** The script of the notifications page. */

const REGIONS = new Set(["notifications", "notifications-head", "notifications-pages", "mutes"]);

/** @type {import("./pausable_list.js").ListOptions} */
const NOTIFICATION_LIST = {
  link: "notifications-new",
  list: (root) => root.querySelector("[data-region=notifications]"),
  includesRegion: (region) => REGIONS.has(region),
  isLaterPage: (list) => Number(list.dataset.page) > 1,
  countNew: (shown, fresh) => {
    if (NOTIFICATION_LIST.isLaterPage(shown)) return Math.max(0, Number(fresh.dataset.total) - Number(shown.dataset.total));
    return countLeading(new Set(noticeIds(shown)), noticeIds(fresh));
  },
};

const notificationList = new PausableList(NOTIFICATION_LIST, REFETCH_SPREAD_MS);
document.addEventListener("beacon:signal", (event) => {
  if (concernsNotifications(/** @type {CustomEvent} */ (event).detail)) notificationList.soon();
});

/** @param {Element} list */
function noticeIds(list) {
  const rows = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[data-notice]"));
  return [...rows].map((row) => row.dataset.notice ?? "");
}
