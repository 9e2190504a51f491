// @ts-check
/** Moments as people read them. Pure. */

const STEPS = /** @type {const} */ ([[60, 1, "s"], [3_600, 60, "min"], [86_400, 3_600, "h"], [Infinity, 86_400, "d"]]);

/**
 * `3 s ago`, `2 min ago`. A moment that seems to lie ahead is `0 s ago`: clocks differ, nothing comes from the future.
 * @param {number} ms
 */
export function ago(ms) {
  return `${span(ms)} ago`;
}

/**
 * `for 2 min`
 * @param {number} ms
 */
export function lasting(ms) {
  return `for ${span(ms)}`;
}

/** @param {number} ms */
function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const [, size, unit] = STEPS.find(([below]) => seconds < below) ?? STEPS[3];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** Made once: a formatter costs a hundred times what it formats, and a list is full of times. */
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const STAMP = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const ZONE = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" });

/** @param {Date} date */
export function clock(date) {
  return CLOCK.format(date);
}

/** @param {Date} date */
export function stamp(date) {
  return STAMP.format(date);
}

/**
 * The whole of it, in the reader's zone and with the zone's name.
 * @param {Date} date
 */
export function moment(date) {
  return `${DAY.format(date)}, ${clock(date)} ${zone(date)}`;
}

/** @param {Date} date */
export function zone(date) {
  return ZONE.formatToParts(date).find((part) => part.type === "timeZoneName")?.value ?? "";
}
