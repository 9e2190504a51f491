// @ts-check
import { fetchChecked, ResponseError } from "../lib/http.js";
import { readFrames, takeFrames } from "./stream.js";

/** The server sends at most this many frames in one answer; then there may be more. */
const MAX_FRAMES_PER_ANSWER = 500;
const TIMEOUT_MS = 10_000;

/**
 * Fetches everything after the cursor, in as many requests as needed, and returns whether this user may stream.
 * @param {() => number} cursor
 * @param {import("./stream.js").TakeFrame} take  gets every frame, `hello` first
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 */
export async function pollAll(cursor, take, signal) {
  for (;;) {
    const { stream, count } = await pollOnce(cursor(), take, signal);
    if (count < MAX_FRAMES_PER_ANSWER) return stream;
  }
}

/**
 * @param {number} after
 * @param {import("./stream.js").TakeFrame} take
 * @param {AbortSignal} signal
 */
async function pollOnce(after, take, signal) {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const address = `/api/events/frames?after=${after}`;
  const options = { headers: { Accept: "text/event-stream" }, signal: limit };
  const response = await fetchChecked(address, options, "text/event-stream");
  let stream = "";
  let count = 0;
  for await (const frames of readFrames(response)) {
    await takeFrames(frames, async (frame) => {
      if (frame.event === "hello") stream = JSON.parse(frame.data).stream;
      else if (frame.event === "" || frame.event === "signal") count += 1;
      await take(frame);
    });
  }
  if (!stream) throw new ResponseError("no-hello", response.status);
  return { stream, count };
}
