// @ts-check
/**
 * The address of a path of Beacon: behind a proxy it may be below a path prefix, which the page names.
 * @param {string} path
 */
export function ownAddress(path) {
  return `${globalThis.document?.body?.dataset.root ?? ""}${path}`;
}
