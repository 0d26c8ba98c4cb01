// A gallery of any length: only the tiles that can be seen exist. What they show is asked for a part at a time, by place.
const PART = 100, GAP = 6, KEPT_PARTS = 30, ROWS_BEYOND = 2;
let picked; // the id of the image that was opened last; the page may make the grid anew for it

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".grid");
  const view = (box.view ??= new View(box));
  view.say = { setTriggerValue };
  view.show(data);
}

class View {
  constructor(box) {
    this.box = box;
    this.space = box.querySelector(".space");
    this.parts = new Map();
    this.tiles = new Map();
    this.marked = new Set(); // the chosen ones, or, while all are chosen, the exceptions
    this.data = {};
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  show(data) {
    const other = data.query !== this.data.query || data.tile !== this.data.tile;
    const changed = other || data.total !== this.data.total || data.version !== this.data.version;
    const focused = Number(this.box.getRootNode().activeElement?.dataset?.place ?? NaN);
    if (data.open !== this.data.open) this.opened = !!data.open;
    this.data = data;
    this.box.setAttribute("aria-label", data.label);
    if (changed) {
      this.parts.clear();
      if (other) this.forgetTiles(); // else each shows what it did until the answer is there
      this.parts.set(0, { items: data.items, whole: data.items.length >= Math.min(PART, data.total) });
    }
    if (other) this.box.scrollTop = 0;
    if (other || data.selection !== this.selection) this.marked = new Set(data.marked);
    this.selection = data.selection;
    this.draw();
    if (data.open && data.open === picked) this.keep();
    if (changed && !Number.isNaN(focused) && data.total) this.focus(Math.min(focused, data.total - 1));
  }

  forgetTiles() {
    this.tiles.forEach((tile) => tile.remove());
    this.tiles.clear();
  }

  // The keyboard goes on from the tile that was picked, though the grid that had it is gone.
  keep() {
    picked = undefined;
    const free = document.activeElement === document.body;
    if (free) this.space.querySelector(".tile.open")?.focus({ preventScroll: true });
  }

  // -- what is seen ------------------------------------------------------------------------------------------------

  measure() {
    const width = this.box.clientWidth;
    this.columns = Math.max(2, Math.floor((width + GAP) / ((this.data.tile ?? 138) + GAP)));
    this.step = (width + GAP) / this.columns;
  }

  draw() {
    if (!this.box.clientWidth) return;
    this.measure();
    const { total } = this.data;
    this.space.style.height = `${Math.ceil(total / this.columns) * this.step}px`;
    const top = Math.floor(this.box.scrollTop / this.step) - ROWS_BEYOND;
    const rows = Math.ceil(this.box.clientHeight / this.step) + 2 * ROWS_BEYOND;
    const first = Math.max(0, top * this.columns);
    const last = Math.min(total, (top + rows) * this.columns);
    for (const [place, tile] of this.tiles) {
      if (place < first || place >= last) { tile.remove(); this.tiles.delete(place); }
    }
    for (let place = first; place < last; place++) this.put(place);
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.ask(first, last), 40); // a fast scroll asks once
    this.box.classList.toggle("choosing", this.data.all || this.marked.size > 0);
  }

  put(place) {
    const item = this.item(place);
    let tile = this.tiles.get(place);
    if (!tile) {
      tile = newTile(this, place);
      this.tiles.set(place, tile);
      this.space.append(tile);
    }
    const side = this.step - GAP;
    tile.style.cssText = `width:${side}px;height:${side}px;left:${(place % this.columns) * this.step}px;` +
      `top:${Math.floor(place / this.columns) * this.step}px`;
    if (item) fill(tile, item);
    const chosen = !!item && this.isChosen(item);
    tile.classList.toggle("chosen", chosen);
    tile.classList.toggle("open", !!item && item.id === this.data.open);
    tile.setAttribute("aria-pressed", chosen);
  }

  isChosen(item) {
    return !!this.data.all !== this.marked.has(item.id);
  }

  item(place) {
    return this.parts.get(Math.floor(place / PART))?.items[place % PART];
  }

  ask(first, last) {
    for (let part = Math.floor(first / PART); part * PART < last; part++) {
      const known = this.parts.get(part);
      if (!known?.asked && !known?.whole) this.fetch(part, known);
    }
  }

  async fetch(part, known) {
    this.parts.set(part, { items: known?.items ?? [], asked: true });
    try {
      const items = await this.load(part);
      if (!items) return;
      this.parts.set(part, { items, whole: true });
    } catch {
      this.parts.delete(part); // asked again when it is next seen
    }
    this.forget(part);
    for (const place of this.tiles.keys()) this.put(place);
  }

  // The items of a part; undefined when the gallery shows something else by then.
  async load(part) {
    const { query, version } = this.data;
    const answer = await fetch(`/api/history?query=${query}&offset=${part * PART}&limit=${PART}`);
    if (!answer.ok) throw new Error(answer.status);
    const { items } = await answer.json();
    return query === this.data.query && version === this.data.version ? items : undefined;
  }

  // The items from one place to another, those too that were never in view; undefined as above.
  async between(first, last) {
    const found = [];
    for (let part = Math.floor(first / PART); part * PART <= last; part++) {
      const known = this.parts.get(part);
      const items = known?.whole ? known.items : await this.load(part);
      if (!items) return undefined;
      found.push(...items.slice(Math.max(0, first - part * PART), last + 1 - part * PART));
    }
    return found;
  }

  forget(near) {
    if (this.parts.size <= KEPT_PARTS) return;
    const far = [...this.parts.keys()].sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
    far.slice(0, this.parts.size - KEPT_PARTS).forEach((part) => this.parts.delete(part));
  }

  // -- what is done ------------------------------------------------------------------------------------------------

  // The second click of a double click opens the image over the whole window, wherever the first has moved the tiles.
  click(place, event) {
    const { last } = this;
    this.last = { item: this.item(place), time: event.timeStamp, x: event.clientX, y: event.clientY };
    const again = last?.item && event.timeStamp - last.time < 500 && Math.hypot(event.clientX - last.x, event.clientY - last.y) < 8;
    if (!again) return this.open(place);
    this.last = undefined;
    window.zdLightbox = last.item.id;
    this.say.setTriggerValue("picked", last.item.id);
  }

  open(place) {
    const item = this.item(place);
    if (!item) return;
    this.opened = true; // at once: a key may come before the page has answered
    picked = item.id;
    this.say.setTriggerValue("picked", item.id);
  }

  async choose(place, through) {
    const from = through && this.anchor !== undefined ? this.anchor : place;
    const item = this.item(place);
    if (!item) return;
    const add = through || !this.isChosen(item);
    this.anchor = place;
    this.box.setAttribute("aria-busy", "true");
    const range = await this.between(Math.min(from, place), Math.max(from, place)).catch(() => undefined);
    this.box.setAttribute("aria-busy", "false");
    if (!range) return;
    for (const one of range) add !== !!this.data.all ? this.marked.add(one.id) : this.marked.delete(one.id);
    this.draw();
    this.say.setTriggerValue("chosen", [...this.marked]);
  }

  key(event) {
    const place = Number(event.target.dataset?.place);
    if (Number.isNaN(place)) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.step)) * this.columns;
    const move = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page, PageDown: page,
      Home: -place, End: this.data.total - 1 - place,
    }[event.key];
    if (move !== undefined) {
      event.preventDefault();
      const next = Math.min(this.data.total - 1, Math.max(0, place + move));
      this.focus(next);
      clearTimeout(this.following); // an open detail goes along, once the keys rest
      if (this.opened) this.following = setTimeout(() => this.open(next), 150);
    } else if (event.key === " ") {
      event.preventDefault();
      this.choose(place, event.shiftKey);
    }
  }

  focus(place) {
    const top = Math.floor(place / this.columns) * this.step;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + this.step > scrollTop + clientHeight) this.box.scrollTop = top + this.step - clientHeight;
    this.draw();
    this.tiles.get(place)?.focus({ preventScroll: true });
  }
}

function newTile(view, place) {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.dataset.place = place;
  tile.onclick = (event) => {
    const marked = event.target.classList.contains("mark");
    if (marked || event.ctrlKey || event.metaKey || event.shiftKey) view.choose(place, event.shiftKey);
    else view.click(place, event);
  };
  return tile;
}

function fill(tile, item) {
  const note = `${item.favourite ? "♥ " : ""}${item.rating ? "★".repeat(item.rating) : ""}`.trim();
  if (tile.dataset.id === item.id) {
    tile.lastChild.textContent = note;
    return;
  }
  tile.dataset.id = item.id;
  tile.title = item.alt;
  const image = document.createElement("img");
  image.decoding = "async";
  image.alt = item.alt;
  image.src = `/api/thumbnails/${item.id}`;
  image.onerror = () => tile.classList.add("missing");
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.textContent = "✓";
  const words = document.createElement("span");
  words.className = "note";
  words.textContent = note;
  tile.replaceChildren(image, mark, words);
}
