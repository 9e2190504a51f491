// @ts-check
/** The tab's name carries the state: most tabs are in the background. */

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
}
