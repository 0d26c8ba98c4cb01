// An image to look into: the wheel, + and - zoom, dragging moves, 0 fits, the arrows go to the next image. A double click or
// Enter opens it over the whole window. A double click on a tile of the gallery does, too: it leaves the image's id in
// window.zdLightbox before the page has answered with the detail.
const MOST = 16;

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".zoom");
  const zoom = (box.zoom ??= new Zoom(box, parentElement.querySelector("dialog")));
  zoom.step = (by) => setTriggerValue("step", by);
  zoom.show(data);
  return () => zoom.end();
}

class Zoom {
  constructor(box, dialog) {
    this.box = box;
    this.dialog = dialog;
    this.small = new Pane(box, box.querySelector("img"));
    this.full = new Pane(dialog.querySelector(".full"), dialog.querySelector(".full img"));
    const acts = {
      before: () => this.step(-1), after: () => this.step(1), close: () => dialog.close(), in: () => this.full.zoom(this.full.at.scale * 1.5),
      out: () => this.full.zoom(this.full.at.scale / 1.5), actual: () => this.full.zoom(this.full.actual()),
    };
    for (const button of dialog.querySelectorAll("button")) button.onclick = acts[button.dataset.do];
    box.ondblclick = () => this.open();
    box.onkeydown = (event) => this.key(event, this.small);
    dialog.onkeydown = (event) => this.key(event, this.full);
    dialog.onclose = () => { this.full.fit(); box.focus({ preventScroll: true }); };
    this.full.view.ondblclick = (event) => this.full.zoom(this.full.at.scale > 1 ? 1 : Math.max(2, this.full.actual()), event);
    this.hear = (event) => {
      if (document.activeElement === document.body && event.key.startsWith("Arrow")) this.key(event, this.small);
    };
    document.addEventListener("keydown", this.hear); // the arrows work, too, while nothing else has the keyboard
  }

  end() { document.removeEventListener("keydown", this.hear); }

  show(data) {
    document.removeEventListener("keydown", this.hear);
    document.addEventListener("keydown", this.hear);
    const { words } = data;
    this.box.style.setProperty("--ratio", data.ratio);
    this.box.title = words.hint;
    this.box.setAttribute("aria-label", data.alt || words.hint);
    this.dialog.setAttribute("aria-label", data.alt || words.hint);
    for (const button of this.dialog.querySelectorAll("button")) {
      button.title = words[button.dataset.do];
      button.setAttribute("aria-label", words[button.dataset.do]);
    }
    const other = this.src !== data.src;
    this.src = data.src;
    for (const pane of [this.small, this.full]) pane.show(data, other);
    if (other && !this.dialog.open) this.box.scrollIntoView({ block: "nearest" }); // on a narrow screen it is above what was clicked
    if (window.zdLightbox === data.id) this.open();
  }

  open() {
    window.zdLightbox = null;
    if (this.dialog.open) return;
    this.dialog.showModal();
    this.full.fit();
    this.full.view.focus();
  }

  key(event, pane) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const scale = { "+": pane.at.scale * 1.5, "=": pane.at.scale * 1.5, "-": pane.at.scale / 1.5, 0: 1 }[event.key];
    if (step) this.step(step);
    else if (scale) pane.zoom(scale);
    else if (event.key === "Enter" && event.target === this.box) this.open();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

class Pane {
  constructor(view, image) {
    this.view = view;
    this.image = image;
    this.at = { scale: 1, x: 0, y: 0 };
    view.onwheel = (event) => {
      event.preventDefault();
      this.zoom(this.at.scale * Math.exp(-event.deltaY / 400), event);
    };
    view.onpointerdown = (event) => {
      if (this.at.scale === 1) return;
      view.setPointerCapture(event.pointerId);
      this.drag = { x: event.clientX - this.at.x, y: event.clientY - this.at.y };
    };
    view.onpointermove = (event) => {
      if (this.drag) this.place(this.at.scale, event.clientX - this.drag.x, event.clientY - this.drag.y);
    };
    view.onpointerup = view.onpointercancel = () => { this.drag = null; };
  }

  show(data, other) {
    this.size = [data.width, data.height];
    this.image.alt = data.alt;
    this.view.setAttribute("aria-label", data.alt || data.words.hint);
    if (!other) return;
    this.image.src = data.src;
    this.fit();
  }

  fit() { this.place(1, 0, 0); }

  // How many times its fitted size the image has when one of its pixels is one of the screen's.
  actual() {
    const { clientWidth, clientHeight } = this.view;
    return Math.max(1, 1 / Math.min(clientWidth / this.size[0], clientHeight / this.size[1]));
  }

  zoom(wanted, event) {
    const scale = Math.min(MOST, Math.max(1, wanted));
    const area = this.view.getBoundingClientRect();
    const x = event ? event.clientX - area.left - area.width / 2 : 0;
    const y = event ? event.clientY - area.top - area.height / 2 : 0;
    const grow = scale / this.at.scale;
    this.place(scale, x - (x - this.at.x) * grow, y - (y - this.at.y) * grow);
  }

  place(scale, x, y) {
    this.at = scale === 1 ? { scale, x: 0, y: 0 } : { scale, x, y };
    this.view.classList.toggle("near", scale > 1);
    this.image.style.transform = `translate(${this.at.x}px, ${this.at.y}px) scale(${scale})`;
  }
}
