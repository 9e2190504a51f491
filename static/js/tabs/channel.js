// @ts-check
/**
 * The tabs of one login in one browser: a lock that one of them holds, and a channel between them.
 *
 * @typedef {object} Handlers
 * @property {() => void} onLead  this tab got the lock
 * @property {() => void} onFollow  another tab has stolen it
 * @property {(message: any) => void} onMessage
 */
export class TabChannel {
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

  /** There are no locks on plain HTTP except on localhost; each tab is then on its own. */
  static get isSupported() {
    return "locks" in navigator && "BroadcastChannel" in window;
  }

  get isOpen() {
    return this.#channel !== null;
  }

  open() {
    if (this.#channel) return;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.addEventListener("message", (event) => this.#handlers.onMessage(event.data));
    this.#requestLock(false);
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
    this.#abandonLock();
  }

  /** Takes the lock from a tab that does not answer. */
  stealLock() {
    if (this.#channel) this.#requestLock(true);
  }

  /** Lets the next tab have the lock, and queues for it again. */
  releaseLock() {
    if (this.#channel) this.#requestLock(false);
  }

  /** @param {object} message */
  post(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {boolean} steal */
  #requestLock(steal) {
    this.#abandonLock();
    const request = (this.#request = new AbortController());
    const options = steal ? { steal } : { signal: request.signal };
    navigator.locks.request(this.#name, options, () => this.#holdLock(request)).catch(() => this.#onLockLost(request));
  }

  /**
   * The lock is held until the promise resolves.
   * @param {AbortController} request
   * @returns {Promise<void>}
   */
  #holdLock(request) {
    if (request !== this.#request) return Promise.resolve();
    this.#handlers.onLead();
    return new Promise((resolve) => { this.#release = resolve; });
  }

  /** @param {AbortController} request */
  #onLockLost(request) {
    if (request !== this.#request) return; // given up by this tab itself
    this.#release = null;
    this.#handlers.onFollow();
    this.#requestLock(false);
  }

  #abandonLock() {
    this.#request?.abort();
    this.#request = null;
    this.#release?.();
    this.#release = null;
  }
}
