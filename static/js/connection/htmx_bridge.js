// @ts-check
import { encodeFrame } from "./sse.js";

/**
 * The bridge into hx-sse: an element whose request is answered from here instead of by the network. hx-sse
 * swaps what is written; live.js owns the wire.
 */

/** @typedef {{ process: (element: Element) => void }} Htmx */

/** @typedef {{ resolve: () => void, reject: (error: unknown) => void }} Waiting */

export class Feed {
  #htmx;
  /** @type {ReadableStreamDefaultController<Uint8Array> | undefined} */
  #pipe;
  /** @type {Element | undefined} */
  #element;
  /** @type {Waiting[]} */
  #waiting = [];

  /** @param {Htmx} htmx */
  constructor(htmx) {
    this.#htmx = htmx;
    this.#connect();
  }

  /**
   * Resolves when the frame's fragments have been swapped; rejects when htmx cannot show them.
   * @param {import("./sse.js").Frame} frame
   * @returns {Promise<void>}
   */
  write(frame) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#pipe?.enqueue(encodeFrame({ ...frame, event: "" }));
    });
  }

  #connect() {
    const element = document.createElement("div");
    element.hidden = true;
    element.setAttribute("hx-sse:connect", "/api/stream/events");
    element.setAttribute("hx-swap", "none"); // only the partials inside a message go anywhere
    element.setAttribute("hx-config", "sse.reconnect:false sse.pauseOnBackground:false");
    element.addEventListener("htmx:config:request", (event) => this.#answer(/** @type {CustomEvent} */ (event)));
    element.addEventListener("htmx:sse:after:message", () => this.#waiting.shift()?.resolve());
    element.addEventListener("htmx:sse:error", (event) => this.#broke(element, /** @type {CustomEvent} */ (event).detail?.error));
    element.addEventListener("htmx:sse:close", () => this.#broke(element, new Error("closed")));
    document.body.append(element);
    this.#element = element;
    const body = new ReadableStream({ start: (controller) => { this.#pipe = controller; } });
    this.#response = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    this.#htmx.process(element);
  }

  #response = new Response();

  /** @param {CustomEvent} event */
  #answer(event) {
    const response = this.#response;
    event.detail.ctx.fetch = () => Promise.resolve(response);
  }

  /**
   * One frame that cannot be shown ends the extension's subscription for good: begin a new one.
   * @param {Element} element
   * @param {unknown} error
   */
  #broke(element, error) {
    if (element !== this.#element) return; // its end was told already
    const waiting = this.#waiting.splice(0);
    this.#element = undefined;
    element.remove();
    this.#connect();
    for (const { reject } of waiting) reject(error);
  }
}
