// @ts-check
/**
 * Queued frames are shown in batches, and the page gets its turn in between. A swap costs far more than its content, so
 * one frame at a time would be slow; all of them at once would block the page until the last one is shown.
 */

/** Characters in one batch: four tiles or some thirty rows. Twice as many make tasks of 100 ms. */
const MAX_BATCH_CHARS = 16_384;

/**
 * Only fragments are batched; a signal or a reset is delivered alone. Pure.
 * @param {Iterable<import("./sse.js").Frame>} waiting
 * @returns {number} how many of the first frames make the next batch
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
 * One frame with the fragments of all, under the id of the last. Pure.
 * @param {import("./sse.js").Frame[]} frames
 * @returns {import("./sse.js").Frame}
 */
export function joinFrames(frames) {
  const last = frames.at(-1);
  if (!last) throw new Error("nothing to show");
  return { ...last, data: frames.map(({ data }) => data).join("\n") };
}

/**
 * Resolves after other tasks of the page: input, drawing. Not by a timer, which is throttled in a hidden tab.
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
