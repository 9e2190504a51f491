// @ts-check
/** Parses the bytes of an event stream into frames, by the rules of the HTML standard. Pure. */

/**
 * @typedef {object} Frame
 * @property {string} event  empty for an unnamed message
 * @property {string} data
 * @property {string | null} id  null if the frame has none
 * @property {number | null} retry
 */

const LINE_END = /\r\n|\n|\r/;

export class FrameParser {
  #decoder = new TextDecoder(); // drops a byte order mark and keeps half a character for the next chunk
  #rest = "";
  /** @type {Frame | null} */
  #frame = null;
  #hasData = false;

  /**
   * The frames that `bytes` completes. An incomplete frame at the end of the stream is dropped.
   * @param {Uint8Array} bytes
   * @returns {Frame[]}
   */
  push(bytes) {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const frames = [];
    for (const line of this.#lines()) {
      const frame = line === "" ? this.#end() : this.#field(line);
      if (frame) frames.push(frame);
    }
    return frames;
  }

  /** Whole lines; a carriage return at the very end is kept, because its line feed may come next. */
  #lines() {
    const held = this.#rest.endsWith("\r") ? "\r" : "";
    const lines = this.#rest.slice(0, this.#rest.length - held.length).split(LINE_END);
    this.#rest = (lines.pop() ?? "") + held;
    return lines;
  }

  #end() {
    const frame = this.#frame;
    this.#frame = null;
    this.#hasData = false;
    return frame;
  }

  /**
   * @param {string} line
   * @returns {null}
   */
  #field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    this.#set(name, value);
    return null;
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  #set(name, value) {
    this.#frame ??= { event: "", data: "", id: null, retry: null };
    if (name === "data") {
      this.#frame.data += (this.#hasData ? "\n" : "") + value;
      this.#hasData = true;
    } else if (name === "event") {
      this.#frame.event = value;
    } else if (name === "id" && !value.includes("\0")) {
      this.#frame.id = value;
    } else if (name === "retry" && /^\d+$/.test(value)) {
      this.#frame.retry = Number(value);
    }
  }
}
