// @ts-check
/**
 * The bridge into htmx's sse extension: an element whose request is answered from here instead of by the network. The
 * extension swaps what it is given; live.js owns the connection.
 *
 * A frame is parsed once, by sse.js. The extension only reads bytes, so it gets an empty message for each frame, and its
 * `before:message` hook puts the frame's fragments in: nothing is encoded a second time.
 */

const EMPTY_MESSAGE = new TextEncoder().encode("data:\n\n");

/** @typedef {{ process: (element: Element) => void }} Htmx */

/** @typedef {{ fragments: string, resolve: () => void, reject: (error: unknown) => void }} Waiting */

export class HtmxBridge {
  #htmx;
  /** @type {ReadableStreamDefaultController<Uint8Array> | undefined} */
  #pipe;
  /** @type {Element | undefined} */
  #element;
  /** @type {Waiting[]} */
  #waiting = []; // the first one is in the extension's hands

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
  write({ data }) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ fragments: data, resolve, reject });
      this.#pipe?.enqueue(EMPTY_MESSAGE);
    });
  }

  #connect() {
    const element = document.createElement("div");
    element.hidden = true;
    element.setAttribute("hx-sse:connect", "/api/stream/events");
    element.setAttribute("hx-swap", "none"); // only the partials inside a message go anywhere
    element.setAttribute("hx-config", "sse.reconnect:false sse.pauseOnBackground:false");
    const body = new ReadableStream({ start: (controller) => { this.#pipe = controller; } });
    const response = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    element.addEventListener("htmx:config:request", (event) => {
      /** @type {CustomEvent} */ (event).detail.ctx.fetch = () => Promise.resolve(response);
    });
    element.addEventListener("htmx:sse:before:message", (event) => {
      /** @type {CustomEvent} */ (event).detail.message.data = this.#waiting[0]?.fragments ?? "";
    });
    element.addEventListener("htmx:sse:after:message", () => this.#waiting.shift()?.resolve());
    element.addEventListener("htmx:sse:error", (event) => this.#restart(element, /** @type {CustomEvent} */ (event).detail?.error));
    element.addEventListener("htmx:sse:close", () => this.#restart(element, new Error("closed")));
    document.body.append(element);
    this.#element = element;
    this.#htmx.process(element);
  }

  /**
   * A frame that cannot be shown ends the extension's subscription for good, so a new one begins.
   * @param {Element} element
   * @param {unknown} error
   */
  #restart(element, error) {
    if (element !== this.#element) return; // its end is known
    const waiting = this.#waiting.splice(0);
    this.#element = undefined;
    element.remove();
    this.#connect();
    for (const { reject } of waiting) reject(error);
  }
}
