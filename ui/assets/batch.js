// The images of one job as a grid with a place for each; it fills while the job runs, without the page being drawn again.
export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".batch");
  grid.setAttribute("aria-label", data.label);
  const show = (ids) => {
    const cells = Array.from({ length: Math.max(data.total, ids.length) }, (_, k) => cell(grid.children[k], ids[k], k));
    grid.replaceChildren(...cells);
  };
  const cell = (had, id, k) => {
    if (had?.dataset.id === (id ?? "")) return press(had);
    const made = document.createElement(id ? "button" : "div");
    made.dataset.id = id ?? "";
    if (id) {
      const image = document.createElement("img");
      image.src = `/api/thumbnails/${id}`;
      image.alt = `${k + 1} · ${data.alt}`;
      made.append(image);
      made.onclick = () => setTriggerValue("picked", id);
    }
    return press(made);
  };
  const press = (one) => {
    if (one.dataset.id) one.setAttribute("aria-current", String(one.dataset.id === data.selected));
    return one;
  };
  show(data.images);
  const hear = ({ detail }) => { if (detail[data.job]?.images) show(detail[data.job].images); };
  window.removeEventListener("darkroom:pulse", grid.hear);
  window.addEventListener("darkroom:pulse", (grid.hear = hear));
  return () => window.removeEventListener("darkroom:pulse", hear);
}
