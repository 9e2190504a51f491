// @ts-check
/**
 * The tabs of one login in one browser: a lock that one of them holds, and a channel between them.
 *
 * @typedef {object} Handlers
 * @property {() => void} lead  this tab holds the lock now
 * @property {() => void} follow  another one has taken it away
 * @property {(message: any) => void} message
 */
export class Tabs {
  #name;
  #handlers;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {AbortController | null} */
  #request = null;
  /** @type {(() => void) | null} */
  #release = null;

  /**
   * @param {string} name
   * @param {Handlers} handlers
   */
  constructor(name, handlers) {
    this.#name = name;
    this.#handlers = handlers;
  }

  /** Plain HTTP off this machine has no locks: each tab is then on its own. */
  static get possible() {
    return "locks" in navigator && "BroadcastChannel" in window;
  }

  get joined() {
    return this.#channel !== null;
  }

  join() {
    if (this.#channel) return;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.addEventListener("message", (event) => this.#handlers.message(event.data));
    this.#ask(false);
  }

  leave() {
    this.#channel?.close();
    this.#channel = null;
    this.#withdraw();
  }

  /** Takes the lock from a tab that does not answer. */
  steal() {
    if (this.#channel) this.#ask(true);
  }

  /** Lets the next one have the lock, and asks for it as a tab that has just come. */
  handBack() {
    if (this.#channel) this.#ask(false);
  }

  /** @param {object} message */
  post(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {boolean} steal */
  #ask(steal) {
    this.#withdraw();
    const request = (this.#request = new AbortController());
    const options = steal ? { steal } : { signal: request.signal };
    navigator.locks.request(this.#name, options, () => this.#hold(request)).catch(() => this.#lost(request));
  }

  /**
   * The lock is held for as long as the promise is open.
   * @param {AbortController} request
   * @returns {Promise<void>}
   */
  #hold(request) {
    if (request !== this.#request) return Promise.resolve();
    this.#handlers.lead();
    return new Promise((resolve) => { this.#release = resolve; });
  }

  /** @param {AbortController} request */
  #lost(request) {
    if (request !== this.#request) return; // withdrawn by this tab itself
    this.#release = null;
    this.#handlers.follow();
    this.#ask(false);
  }

  #withdraw() {
    this.#request?.abort();
    this.#request = null;
    this.#release?.();
    this.#release = null;
  }
}
