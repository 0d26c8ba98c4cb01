// Thumbnails by URL as a grid or a strip. Arrows move, Enter or a click picks.
export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".gallery");
  list.className = `gallery ${data.layout}`;
  list.setAttribute("aria-label", data.label);
  const wanted = JSON.stringify(data.items);
  if (list.dataset.shown !== wanted) {
    list.dataset.shown = wanted;
    list.replaceChildren(...data.items.map(tile));
  }
  const tiles = [...list.children];
  tiles.forEach((one, k) => {
    const chosen = data.items[k].id === data.selected;
    one.classList.toggle("chosen", chosen);
    one.setAttribute("aria-pressed", chosen);
    one.onclick = () => setTriggerValue("picked", data.items[k].id);
  });
  list.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(tiles), ArrowDown: columns(tiles) }[event.key];
    const at = tiles.indexOf(parentElement.activeElement ?? list.getRootNode().activeElement);
    if (!step || at < 0 || !tiles[at + step]) return;
    event.preventDefault();
    tiles[at + step].focus();
  };
}

function columns(tiles) {
  const first = tiles[0]?.offsetTop;
  const next = tiles.findIndex((one) => one.offsetTop !== first);
  return next < 0 ? tiles.length : next;
}

function tile(item) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = item.alt;
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = item.alt;
  image.src = item.src;
  image.onerror = () => button.classList.add("missing");
  button.append(image);
  return button;
}
