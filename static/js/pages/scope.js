// @ts-check
/** Which jobs are meant, in words: "these 7 selected" follows what is ticked. */

export function watchScope() {
  const place = document.querySelector("[data-selected]");
  const form = place?.closest("form");
  if (!place || !form) return;
  const show = () => {
    const number = form.querySelectorAll("input[name=jobIds]:checked").length;
    place.textContent = number === 0 ? "those selected" : number === 1 ? "this 1 selected" : `these ${number} selected`;
  };
  form.addEventListener("change", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.name === "jobIds") {
      const selected = /** @type {HTMLInputElement | null} */ (form.querySelector("input[name=scope][value=selected]"));
      if (selected) selected.checked = true;
    }
    show();
  });
  show();
}
