// @ts-check
/** Pure: which events concern the user's notifications. */

/** Many pages get an event at once, so their requests are spread over this time. */
export const REFETCH_SPREAD_MS = 500;

/** Types of events after which the user's notifications must be refetched. */
const NOTIFICATION_EVENTS = new Set(["notification.created", "notification.changed"]);

/** @param {unknown} signal */
export function concernsNotifications(signal) {
  const type = /** @type {{ type?: unknown } | null} */ (signal)?.type;
  return typeof type === "string" && NOTIFICATION_EVENTS.has(type);
}
