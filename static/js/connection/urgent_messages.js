// @ts-check
/** What a paused page still shows at once: an operator's message to everybody. Pure. */

/** Text inside a fragment is escaped, so neither its start nor its end can be forged. */
const FLASH_FRAGMENT = /<hx-upsert hx-target="#flashes"[\s\S]*?<\/hx-upsert>/g;

/**
 * @param {string} data  the fragments of one event
 * @returns {{ urgent: string, rest: string }}
 */
export function splitUrgent(data) {
  return { urgent: (data.match(FLASH_FRAGMENT) ?? []).join(""), rest: data.replace(FLASH_FRAGMENT, "") };
}
