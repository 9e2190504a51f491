// @ts-check
/** Formats times for people. Pure. */

const UNITS = /** @type {const} */ ([[60, 1, "s"], [3_600, 60, "min"], [86_400, 3_600, "h"], [Infinity, 86_400, "d"]]);

/**
 * `3 s ago`, `2 min ago`. Clocks differ, so a time in the future is `0 s ago`.
 * @param {number} ms
 */
export function formatAgo(ms) {
  return `${formatSpan(ms)} ago`;
}

/**
 * `for 2 min`
 * @param {number} ms
 */
export function formatDuration(ms) {
  return `for ${formatSpan(ms)}`;
}

/** @param {number} ms */
function formatSpan(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const [, size, unit] = UNITS.find(([below]) => seconds < below) ?? UNITS[3];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** Created once: a formatter costs a hundred times as much as one format, and a list is full of times. */
const CLOCK_FORMAT = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY_FORMAT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const STAMP_FORMAT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const ZONE_FORMAT = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" });

/** @param {Date} date */
export function clock(date) {
  return CLOCK_FORMAT.format(date);
}

/** @param {Date} date */
export function formatStamp(date) {
  return STAMP_FORMAT.format(date);
}

/**
 * Date and time in the reader's time zone, with the zone's name.
 * @param {Date} date
 */
export function formatMoment(date) {
  return `${DAY_FORMAT.format(date)}, ${clock(date)} ${zoneName(date)}`;
}

/** @param {Date} date */
export function zoneName(date) {
  return ZONE_FORMAT.formatToParts(date).find((part) => part.type === "timeZoneName")?.value ?? "";
}

/**
 * The end of a message: the day is only included if it is not today.
 * @param {Date} end
 * @param {Date} now
 */
export function formatUntil(end, now) {
  const time = end.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  if (end.toDateString() === now.toDateString()) return time;
  return `${end.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}
