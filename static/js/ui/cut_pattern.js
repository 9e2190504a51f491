// @ts-check
/**
 * Recognises a time limit of a proxy: streams that are cut again and again after about the same time. Beacon says goodbye
 * before it ends a stream, so its own limit is not among the errors. Pure.
 *
 * @typedef {import("../connection/status.js").Trouble} Trouble
 */

/** This many streams in a row must have lasted about as long as each other. */
const MIN_STREAMS = 2;
/** Shorter ones fail for another reason. */
const MIN_LASTED_S = 5;
const MAX_SPREAD = 1.25;
/** As live.js writes it. A stream that fell silent was not cut. */
const CUT = /^stream: (?!silence).* after (\d+) s$/;

/**
 * @param {readonly Trouble[]} errors  the newest last
 * @returns {string}  a sentence, or nothing if there is no such limit
 */
export function describeTimeLimit(errors) {
  const streams = errors.filter(({ text }) => text.startsWith("stream: ")).slice(-MIN_STREAMS);
  const lasted = streams.map(({ text }) => Number(CUT.exec(text)?.[1] ?? 0));
  const [shortest, longest] = [Math.min(...lasted), Math.max(...lasted)];
  if (lasted.length < MIN_STREAMS || shortest < MIN_LASTED_S || longest > MAX_SPREAD * shortest) return "";
  return `Something in between, perhaps a proxy, cuts the live connection after ${shortest} s each time. Nothing is lost: the page opens it again and asks for what it missed.`;
}
