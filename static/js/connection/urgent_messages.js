// @ts-check
/** What a paused page still shows at once: an operator's message to everybody. Pure. */

/** Text inside a fragment is escaped, so neither its start nor its end can be forged. */
const FLASH = /<hx-upsert hx-target="#flashes"[\s\S]*?<\/hx-upsert>/g;

/**
 * @param {string} data  the fragments of one event
 * @returns {{ urgent: string, rest: string }}
 */
export function split(data) {
  return { urgent: (data.match(FLASH) ?? []).join(""), rest: data.replace(FLASH, "") };
}
