// @ts-check
/** Says which jobs an action is for: "these 7 selected" follows the checkboxes of the current list. */

export function watchSelection() {
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box instanceof HTMLInputElement && box.name === "jobIds") {
      const selected = /** @type {HTMLInputElement | null} */ (box.form?.querySelector("input[name=scope][value=selected]") ?? null);
      if (selected) selected.checked = true;
    }
    showCount();
  });
  document.addEventListener("beacon:regions", showCount);
  showCount();
}

function showCount() {
  const place = document.querySelector("[data-selected]");
  if (!place) return;
  const number = place.closest("form")?.querySelectorAll("input[name=jobIds]:checked").length ?? 0;
  const words = number === 0 ? "those selected" : number === 1 ? "this 1 selected" : `these ${number} selected`;
  if (place.textContent !== words) place.textContent = words;
}
