// @ts-check
/**
 * What waits is shown in slices: as much together as one write may hold, then the page has its turn. A swap costs far
 * more than what is in it, and frames that came while the page was busy would otherwise be one task that lasts until
 * the last of them is shown.
 */

/** Characters that go into one write: four tiles or some thirty rows. Twice as many make tasks of 100 ms. */
const MAX_BATCH_CHARS = 16_384;

/**
 * Only fragments go together: what is acted on has its own turn. Pure.
 * @param {Iterable<import("./sse.js").Frame>} waiting
 * @returns {number} how many of the first ones are shown at once
 */
export function batchLength(waiting) {
  let count = 0;
  let length = 0;
  for (const { event, data } of waiting) {
    length += data.length;
    if (count > 0 && (event !== "" || length > MAX_BATCH_CHARS)) break;
    count += 1;
    if (event !== "") break;
  }
  return count;
}

/**
 * One write for all of them, under the id of the last. Pure.
 * @param {import("./sse.js").Frame[]} frames
 * @returns {import("./sse.js").Frame}
 */
export function joinFrames(frames) {
  const last = frames.at(-1);
  if (!last) throw new Error("nothing to show");
  return { ...last, data: frames.map(({ data }) => data).join("\n") };
}

/**
 * Resolves after whatever else waits for the page: input, a frame of the screen. No timer, which a hidden tab would be
 * kept waiting for.
 * @returns {Promise<void>}
 */
export function yieldToPage() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
