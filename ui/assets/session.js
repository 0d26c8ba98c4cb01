// This session's images in a column or a row: jobs in work first, with their previews and progress, then what they made. One
// tab stop; arrows move, Enter or a click shows. Progress and new images come from what the page hears of its jobs.
export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".session");
  list.setAttribute("aria-label", data.label);
  list.say = setTriggerValue;
  list.data = data;
  const wanted = [...data.jobs.map(jobOf), ...data.items.map(imageOf)];
  fill(list, wanted);
  const hear = ({ detail }) => update(list, detail);
  window.removeEventListener("darkroom:pulse", list.hear);
  window.addEventListener("darkroom:pulse", (list.hear = hear));
  list.onkeydown = (event) => move(list, event);
  return () => window.removeEventListener("darkroom:pulse", hear);
}

const jobOf = (job) => ({ key: `job-${job.id}`, name: "job", ...job });
const imageOf = (image) => ({ key: image.id, name: "picked", ...image });

function fill(list, wanted) {
  const had = new Map([...list.children].map((tile) => [tile.dataset.key, tile]));
  list.replaceChildren(...wanted.map((item) => dress(list, had.get(item.key) ?? tile(item), item)));
  rove(list, list.querySelector("[aria-current=true]") ?? list.firstElementChild);
}

function tile(item) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.key = item.key;
  const image = document.createElement("img");
  image.decoding = "async";
  image.onerror = () => button.classList.add("missing");
  button.append(image);
  if (item.name === "job") {
    const bar = document.createElement("i");
    const words = document.createElement("span");
    button.append(bar, words);
  }
  return button;
}

function dress(list, button, item) {
  button.item = item;
  button.title = item.alt;
  const image = button.firstElementChild;
  image.alt = item.alt;
  if (item.src && image.getAttribute("src") !== item.src) image.src = item.src;
  button.classList.toggle("running", item.name === "job");
  button.classList.toggle("blank", !image.getAttribute("src"));
  button.setAttribute("aria-current", String(item.id === list.data.selected));
  button.onclick = () => list.say(item.name, item.id);
  if (item.name === "job") {
    const percent = Math.round(100 * item.done);
    button.children[1].style.width = `${percent}%`;
    button.children[2].textContent = item.queued ? item.words : `${percent}%`;
    button.setAttribute("aria-label", `${item.alt} · ${item.words}`);
  }
  return button;
}

function update(list, jobs) {
  let added = false;
  for (const button of [...list.children]) {
    const news = button.item.name === "job" && jobs[button.item.id];
    if (!news) continue;
    dress(list, button, { ...button.item, ...news, queued: false, id: button.item.id });
    for (const id of news.images ?? []) {
      if (list.querySelector(`[data-key="${id}"]`)) continue;
      const made = imageOf({ id, src: `/api/thumbnails/${id}`, alt: button.item.alt });
      const after = [...list.children].filter((one) => one.item.name === "job").at(-1);
      after.after(dress(list, tile(made), made));
      added = true;
    }
  }
  if (added) rove(list, list.querySelector("[tabindex='0']"));
}

function rove(list, one) {
  for (const tile of list.children) tile.tabIndex = tile === one ? 0 : -1;
}

function move(list, event) {
  const at = [...list.children].indexOf(list.getRootNode().activeElement);
  const last = list.children.length - 1;
  const to = { ArrowUp: at - 1, ArrowLeft: at - 1, ArrowDown: at + 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
  if (at < 0 || to === undefined || to < 0 || to > last) return;
  event.preventDefault();
  rove(list, list.children[to]);
  list.children[to].focus();
}
