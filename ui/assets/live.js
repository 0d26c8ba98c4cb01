// A draft of what the form says while a slider or a number of it is moved: asked for a moment after each move, stopped by the
// next one, and shown in a frame of its own over the stage. When the moving is over, the page is told, which generates the image.
const QUIET = 40; // ms without a move until a draft is asked for
const RELEASED = 700; // ms without a move and without the pointer until the moving is over
const WAITS = 1000; // ms until it is said that the worker is busy
const VALUES = ["value", "aria-valuenow", "aria-valuetext"];

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".live");
  const live = (box.live ??= new Live(box));
  live.begin(data, setTriggerValue);
}

class Live {
  constructor(box) {
    this.box = box;
    this.image = box.querySelector("img");
    this.words = box.querySelector("figcaption");
    this.client = `live-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
    this.moves = new Map(); // name of a field -> its value now
    this.sent = new Map(); // what was released and the page does not show yet: drawing it again is no move
    box.querySelector("button").onclick = () => this.hide();
    this.observer = new MutationObserver((changes) => changes.forEach(({ target }) => this.moved(target)));
    const hears = {
      input: ({ target }) => this.moved(target),
      keydown: ({ target }) => this.touch(target),
      pointerdown: ({ target }) => { this.pressed = true; this.touch(target); },
      pointerup: () => this.up(), pointercancel: () => this.up(),
    };
    for (const [name, hear] of Object.entries(hears)) {
      document.addEventListener(name, (event) => { if (this.on()) hear(event); }, true);
    }
  }

  begin(data, say) {
    const before = this.data;
    Object.assign(this, { data, say });
    if (data.released !== before?.released) this.sent.clear();
    this.box.querySelector("button").title = data.words.close;
    this.box.querySelector("button").setAttribute("aria-label", data.words.close);
    const zone = document.querySelector(data.form);
    if (zone && zone !== this.zone) {
      this.observer.disconnect();
      this.observer.observe(this.zone = zone, { subtree: true, attributes: true, attributeFilter: VALUES });
    }
    // The image is there. A page that is drawn late has never heard of a quick job at work.
    if (before && !data.job && (before.job || data.released !== before.released)) this.hide();
  }

  // Only while the component is on the page: a page that was left keeps no ears.
  on() {
    if (this.box.isConnected) return true;
    this.observer.disconnect();
    return false;
  }

  field(target) {
    return target?.closest && this.data.fields.find(({ selector }) => target.closest(selector));
  }

  touch(target) {
    this.touched = this.field(target)?.name;
    this.sent.clear();
  }

  up() {
    this.pressed = false;
    if (this.moves.size) this.wait();
  }

  // What the program sets, such as a preset, is no move: the field must have been touched.
  moved(target) {
    const field = this.field(target);
    if (!field || field.name !== this.touched || !this.on()) return;
    const text = target.tagName === "INPUT" ? target.value : target.getAttribute("aria-valuenow");
    const value = text === "" || text === null ? NaN : Number(text);
    if (!Number.isFinite(value) || value === (this.moves.get(field.name) ?? this.sent.get(field.name) ?? field.value)) return;
    this.moves.set(field.name, value);
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.ask(), QUIET);
    this.wait();
  }

  wait() {
    clearTimeout(this.over);
    this.over = setTimeout(() => (this.pressed ? this.wait() : this.release()), RELEASED);
  }

  // What the moves set, by option: a field of a list is one of its entries, a text around the number.
  changes() {
    const changes = {};
    for (const { name, key, entry, before, after } of this.data.fields) {
      if (!this.moves.has(name)) continue;
      if (entry === undefined) changes[key] = this.moves.get(name);
      else (changes[key] ??= [...this.data.order[key]])[entry] = `${before}${this.moves.get(name)}${after}`;
    }
    return changes;
  }

  async ask() {
    this.asked?.abort();
    const { signal } = (this.asked = new AbortController());
    const { words, language, job } = this.data;
    const busy = setTimeout(() => this.say_(words.busy), WAITS);
    this.box.hidden = false;
    this.box.classList.add("asking");
    if (!this.image.src) this.say_(words.asking);
    try {
      if (job) await fetch(`/api/v1/jobs/${job}`, { method: "DELETE", signal }); // the image of the release before is outdated
      const body = JSON.stringify({ ...this.data.order, ...this.changes() });
      const headers = { "Content-Type": "application/json", "X-Client-Id": this.client };
      const answer = await fetch("/api/v1/drafts", { method: "POST", body, headers, signal });
      if (answer.status === 200) await this.show(await answer.blob(), signal);
      else if (!answer.ok) this.say_((await answer.json()).error?.[language] ?? String(answer.status));
    } catch (error) {
      if (!signal.aborted) this.say_(String(error));
    } finally {
      clearTimeout(busy);
      if (!signal.aborted) this.box.classList.remove("asking");
    }
  }

  async show(blob, signal) {
    const next = new Image();
    next.src = URL.createObjectURL(blob);
    await next.decode();
    if (signal.aborted) return URL.revokeObjectURL(next.src);
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.image.src = next.src;
    this.image.alt = this.data.words.draft;
    this.box.dataset.shown = 1 + Number(this.box.dataset.shown ?? 0);
    this.say_(`${this.data.words.draft} · ${next.naturalWidth}×${next.naturalHeight} · ${this.data.words.seed}`);
  }

  say_(words) { this.words.textContent = words; }

  release() {
    const changes = this.changes();
    this.sent = new Map(this.moves);
    this.moves.clear();
    if (Object.keys(changes).length && this.on()) this.say("released", changes);
  }

  hide() {
    this.box.hidden = true;
    this.asked?.abort();
  }
}
