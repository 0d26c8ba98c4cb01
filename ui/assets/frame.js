// What belongs to the whole window and not to a page: the title, which tells how far the viewer's job is, the number of jobs
// beside "Queue" in the navigation, the language of the document, and the signal at the end of the queue. One object for the
// window: pages come and go, it stays. It listens to what the page hears of the queue, and asks by itself where no page does.
const RESTS = { seen: 3000, unseen: 5000 }; // ms between two questions
const NAVIGATION = 'a[data-testid$="NavLink"]', START_MS = 2000, COMMIT_MS = 15000, STEP_MS = 30;
const STATE = "data-test-script-state"; // of Streamlit's own element: whether the page's program runs
const TEXTS = ':is([data-testid="stTextInput"], [data-testid="stTextArea"], [data-testid="stNumberInput"]) :is(input, textarea)';

export default function ({ data }) {
  (window.darkroomFrame ??= new Frame()).take(data);
}

class Frame {
  constructor() {
    this.heard = 0; // when there was news
    this.busy = false; // a job of the viewer was active then
    window.addEventListener("darkroom:queue", ({ detail }) => this.hear(detail));
    new MutationObserver(() => this.focusable()).observe(document.body, { childList: true, subtree: true });
    new MutationObserver(() => this.ran()).observe(document.body, { attributes: true, attributeFilter: [STATE], subtree: true });
    document.addEventListener("click", (event) => this.closeDrawer(event), true);
    document.addEventListener("input", ({ target }) => { if (target.matches?.(TEXTS)) this.typed = { field: target }; }, true);
    document.addEventListener("focusout", ({ target }) => this.sent(target), true);
    document.addEventListener("keydown", ({ key, target }) => { if (key === "Enter" && target.matches?.("input")) this.sent(target); }, true);
    document.addEventListener("click", (event) => this.leave(event), true);
    this.wait(0);
  }

  take(data) {
    this.data = data;
    document.documentElement.lang = data.language;
    this.draw();
    setTimeout(() => this.draw()); // after the page's own title
  }

  wait(ms) { setTimeout(() => this.ask(), ms); }

  async ask() {
    const rest = document.hidden ? RESTS.unseen : RESTS.seen;
    if (this.data && Date.now() - this.heard > rest / 2) {
      try {
        const answer = await fetch(this.data.url, { cache: "no-store" });
        if (answer.ok) this.tell(await answer.json());
      } catch (error) { /* the studio is away: it is asked again */ }
    }
    this.wait(rest);
  }

  tell(news) {
    window.dispatchEvent(new CustomEvent("darkroom:pulse", { detail: news.jobs }));
    this.hear(news);
  }

  hear(news) {
    this.heard = Date.now();
    this.news = news;
    const busy = news.mine > 0;
    if (this.busy && !busy) this.signal();
    this.busy = busy;
    this.draw();
  }

  draw() {
    const own = this.news?.running.map((id) => this.news.jobs[id]).filter(Boolean) ?? [];
    const title = own.length ? `${Math.round(100 * own[0].done)}% · ${this.data.app}` : this.data.title;
    if (document.title !== title) document.title = title;
    const count = String(this.news?.total || "");
    for (const link of document.querySelectorAll(`a[href$="/${this.data.queue}"]`)) {
      if (link.dataset.zdCount === count) continue;
      link.dataset.zdCount = count;
      if (count) link.setAttribute("aria-description", this.data.words.count.replace("#", count));
      else link.removeAttribute("aria-description");
    }
  }

  // What scrolls inside a page must be reachable by keyboard: Streamlit's code blocks are not.
  focusable() {
    this.looking ??= requestAnimationFrame(() => {
      this.looking = null;
      for (const block of document.querySelectorAll("pre:not([tabindex])")) block.tabIndex = 0;
    });
  }

  // On a phone the navigation is a drawer over the page: after a choice it closes.
  closeDrawer(event) {
    if (window.innerWidth >= 768 || !event.target.closest?.('[data-testid="stSidebarNavLink"]')) return;
    const until = Date.now() + 3000; // a busy browser draws the page first
    const close = () => {
      const drawer = document.querySelector('[data-testid="stSidebar"]');
      if (!(drawer?.getBoundingClientRect().right > 0) || Date.now() > until) return;
      drawer.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
      setTimeout(close, 100);
    };
    setTimeout(close, 50);
  }

  // The words of a text field go to the page's program when the field is left; they have arrived when it has run since.
  sent(field) {
    if (this.typed?.field === field) this.typed.sent = true;
  }

  ran() {
    const running = isRunning(), began = running && !this.running;
    if (began && this.typed?.sent) this.typed.runs = true;
    if (!running && this.typed?.runs) this.typed = null;
    this.running = running;
  }

  // A click that leaves the page can overtake what was typed last, which is then lost or leads back to the page: it waits until
  // the page's program has run with it, and has told a draft so.
  leave(event) {
    const link = event.isTrusted && event.target.closest?.(NAVIGATION);
    if (!link || !this.waits()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    document.activeElement?.blur();
    const began = Date.now();
    const go = () => {
      const waited = Date.now() - began, quiet = !isRunning() && !isUnsent() && waited > START_MS; // nothing new was typed
      if (this.waits() && !quiet && waited < COMMIT_MS) return setTimeout(go, STEP_MS);
      this.typed = null;
      link.click();
    };
    go();
  }

  waits() {
    return isUnsent() || Boolean(this.typed?.field.isConnected);
  }

  signal() {
    if (stored("browser", "zd-sound") === "on") ring();
    if (stored("browser", "zd-notify") === "on" && window.Notification?.permission === "granted") {
      new Notification(this.data.app, { body: this.data.words.done, tag: "zd-queue" });
    }
  }
}

function isRunning() {
  return document.querySelector(`[${STATE}]`)?.getAttribute(STATE) !== "notRunning";
}

// Whether a draft has words that the page's program has not had yet.
function isUnsent() {
  return document.documentElement.hasAttribute("data-unsent");
}

// Two short tones; a browser that wants a click on the page first stays silent.
function ring() {
  const audio = new AudioContext();
  for (const [start, pitch] of [[0, 660], [0.18, 880]]) {
    const tone = audio.createOscillator(), volume = audio.createGain();
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.15, audio.currentTime + start);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + start + 0.4);
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + start);
    tone.stop(audio.currentTime + start + 0.4);
  }
  setTimeout(() => audio.close(), 1000);
}
