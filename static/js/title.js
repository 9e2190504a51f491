// @ts-check
/** The tab's name and icon carry the state: most tabs are in the background. */

const name = document.title.replace(/^[●◌] [^·]* · /, "");
let wrong = 0;
let offline = false;

/** @param {number} count */
export function setWrong(count) {
  wrong = count;
  show();
}

/** @param {boolean} isOffline */
export function setOffline(isOffline) {
  offline = isOffline;
  show();
}

function show() {
  const title = offline ? `◌ offline · ${name}` : wrong ? `● ${wrong} wrong · ${name}` : name;
  if (document.title !== title) document.title = title;
  showIcon(offline ? "favicon-offline" : wrong ? "favicon-wrong" : "favicon");
}

/** @param {string} picture */
function showIcon(picture) {
  const link = /** @type {HTMLLinkElement | null} */ (document.querySelector("link[rel=icon]"));
  const href = link?.getAttribute("href")?.replace(/favicon[a-z-]*\.svg$/, `${picture}.svg`);
  if (link && href && link.getAttribute("href") !== href) link.setAttribute("href", href);
}
