// @ts-check
/** Pure decisions about notifications; panel.js and the widget act on them. */

/** As many screens hear of an event at once: their questions are spread over this time. */
export const REFETCH_SPREAD_MS = 500;

/** Types whose event says: what you show of your notifications may be old. */
const NOTIFICATION_EVENTS = new Set(["notification.created", "notification.changed"]);

/** @param {unknown} signal */
export function concernsNotifications(signal) {
  const type = /** @type {{ type?: unknown } | null} */ (signal)?.type;
  return typeof type === "string" && NOTIFICATION_EVENTS.has(type);
}

/** @param {number} unread */
export function unreadText(unread) {
  if (!(unread > 0)) return "";
  return unread > 99 ? "99+" : String(unread);
}

/**
 * What came after the page was made, and was not said yet.
 * @param {ReadonlySet<string>} said
 * @param {{ id: string, at: string }[]} items
 * @param {string} since
 */
export function newIds(said, items, since) {
  return items.filter(({ id, at }) => at > since && !said.has(id)).map(({ id }) => id);
}

/**
 * How many stand before the first that is shown already: those are new, whatever else has come and gone below.
 * @param {ReadonlySet<string>} shown
 * @param {string[]} fresh  newest first
 */
export function countLeading(shown, fresh) {
  const known = fresh.findIndex((id) => shown.has(id));
  return known < 0 ? fresh.length : known;
}

/**
 * A message's end as its reader says it: the day only where it is another one.
 * @param {Date} end
 * @param {Date} now
 */
export function formatUntil(end, now) {
  const time = end.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  if (end.toDateString() === now.toDateString()) return time;
  return `${end.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/**
 * The token that another site's page hands over, or null. Only a page that is allowed to, and that holds this one
 * in its frame, is listened to.
 * @param {{ origin: string, source: unknown, data: unknown }} message
 * @param {readonly string[]} origins
 * @param {unknown} parent
 */
export function readWidgetToken(message, origins, parent) {
  if (message.source !== parent || !origins.includes(message.origin)) return null;
  const { type, token } = /** @type {{ type?: unknown, token?: unknown }} */ (message.data ?? {});
  return type === "beacon:widget-token" && typeof token === "string" && token !== "" ? token : null;
}
