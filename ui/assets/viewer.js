// The image on the stage: fitted to its place, at 1:1, zoomed by wheel, buttons or keys, moved by dragging. A new source is
// loaded before it replaces the one that is shown, so that previews never flicker.
const MOST = 16;

export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".viewer");
  const viewer = (box.viewer ??= new Viewer(box));
  viewer.draw(data);
  return () => viewer.end();
}

class Viewer {
  constructor(box) {
    this.box = box;
    this.view = box.querySelector(".view");
    this.image = box.querySelector("img");
    this.bar = box.querySelector(".bar");
    this.at = { scale: 1, x: 0, y: 0 };
    this.data = {};
    this.hear = ({ detail }) => { if (this.data.job && detail[this.data.job]) this.show(detail[this.data.job].src); };
    const acts = { fit: () => this.place(1, 0, 0), actual: () => this.zoom(this.actual()),
      in: () => this.zoom(this.at.scale * 1.5), out: () => this.zoom(this.at.scale / 1.5) };
    for (const button of this.bar.children) button.onclick = acts[button.dataset.do];
    this.view.onwheel = (event) => {
      event.preventDefault();
      this.zoom(this.at.scale * Math.exp(-event.deltaY / 400), event);
    };
    this.view.ondblclick = (event) => this.zoom(this.at.scale > 1 ? 1 : Math.max(2, this.actual()), event);
    this.view.onpointerdown = (event) => {
      if (this.at.scale <= 1) return;
      this.view.setPointerCapture(event.pointerId);
      this.drag = { x: event.clientX - this.at.x, y: event.clientY - this.at.y };
    };
    this.view.onpointermove = (event) => {
      if (this.drag) this.place(this.at.scale, event.clientX - this.drag.x, event.clientY - this.drag.y);
    };
    this.view.onpointerup = this.view.onpointercancel = () => { this.drag = null; };
    this.view.onkeydown = (event) => {
      const act = { "+": acts.in, "=": acts.in, "-": acts.out, 0: acts.fit, 1: acts.actual }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
  }

  draw(data) {
    const other = data.src !== this.data.src && !(data.job && data.job === this.data.job);
    this.data = data;
    this.box.classList.toggle("forming", data.forming);
    this.image.alt = data.alt;
    this.view.title = data.words.hint;
    this.view.setAttribute("aria-label", data.alt || data.words.hint);
    for (const button of this.bar.children) {
      button.title = data.words[button.dataset.do];
      button.setAttribute("aria-label", data.words[button.dataset.do]);
      if (["fit", "actual"].includes(button.dataset.do)) button.textContent = data.words[button.dataset.do];
    }
    if (other) this.place(1, 0, 0);
    this.show(data.src);
    window.removeEventListener("darkroom:pulse", this.hear);
    window.addEventListener("darkroom:pulse", this.hear);
  }

  end() { window.removeEventListener("darkroom:pulse", this.hear); }

  show(src) {
    if (!src) return this.data.job && this.data.job !== this.owner && this.clear();
    if (this.image.dataset.wanted === src) return;
    this.image.dataset.wanted = src;
    const next = new Image();
    next.onload = () => {
      if (this.image.dataset.wanted !== src) return;
      this.image.src = src;
      this.owner = this.data.job;
      this.box.classList.remove("empty");
    };
    next.onerror = () => { delete this.image.dataset.wanted; };
    next.src = src;
  }

  // A job that has no preview yet: an empty frame, not the image of another prompt.
  clear() {
    delete this.image.dataset.wanted;
    this.image.removeAttribute("src");
    this.box.classList.add("empty");
  }

  // How many times its fitted size the image has when one of its pixels is one of the screen's.
  actual() {
    const { clientWidth, clientHeight } = this.view;
    const fitted = Math.min(clientWidth / this.data.width, clientHeight / this.data.height);
    return 1 / fitted;
  }

  zoom(wanted, event) {
    const scale = Math.min(MOST, Math.max(Math.min(1, this.actual()), wanted));
    const area = this.view.getBoundingClientRect();
    const x = event ? event.clientX - area.left - area.width / 2 : 0;
    const y = event ? event.clientY - area.top - area.height / 2 : 0;
    const grow = scale / this.at.scale;
    this.place(scale, x - (x - this.at.x) * grow, y - (y - this.at.y) * grow);
  }

  place(scale, x, y) {
    this.at = scale <= 1 ? { scale, x: 0, y: 0 } : { scale, x, y };
    this.box.classList.toggle("near", scale > 1);
    this.image.style.transform = scale === 1 ? "" : `translate(${this.at.x}px, ${this.at.y}px) scale(${scale})`;
    for (const button of this.bar.children) {
      const here = { fit: 1, actual: this.data.width && this.actual() }[button.dataset.do];
      if (here) button.setAttribute("aria-pressed", Math.abs(scale - here) < 0.01);
    }
  }
}
