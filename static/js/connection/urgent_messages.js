// @ts-check
/** What a paused page still shows at once: operators' messages. Pure. */

/** Text inside a fragment is escaped, so it can contain neither the start nor the end of one. */
const FLASH_FRAGMENT = /<hx-upsert hx-target="#flashes"[\s\S]*?<\/hx-upsert>/g;

/**
 * @param {string} data  the fragments of one event
 * @returns {{ urgent: string, rest: string }}
 */
export function splitUrgent(data) {
  return { urgent: (data.match(FLASH_FRAGMENT) ?? []).join(""), rest: data.replace(FLASH_FRAGMENT, "") };
}
