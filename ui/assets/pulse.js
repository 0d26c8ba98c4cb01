// Asks the studio how the jobs in work are getting on, and tells all that is drawn of them on this page, by an event.
// Only when the queue itself has changed is the page drawn again, or, where it shows the images of the job, when that is at
// its next one. In a tab that nobody sees it rests.
const AGAIN = 3000; // ms until the page is asked a second time for what it did not draw

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".pulse");
  const pulse = (box.pulse ??= new Pulse(box));
  pulse.begin(data, setTriggerValue);
  return () => pulse.end();
}

class Pulse {
  constructor(box) {
    this.box = box;
    this.told = { mark: "", when: 0 };
    document.addEventListener("visibilitychange", () => { if (this.turn && !document.hidden) this.ask(this.turn); });
  }

  begin(data, setTriggerValue) {
    this.data = data;
    this.say = setTriggerValue;
    this.box.classList.toggle("silent", !data.job);
    this.draw(data);
    this.wait(this.turn = {});
  }

  end() { this.turn = null; }

  wait(turn) { setTimeout(() => this.ask(turn), 1000 * this.data.seconds); }

  async ask(turn) {
    if (turn !== this.turn || !this.box.isConnected) return;
    if (document.hidden) return this.wait(turn);
    turn = this.turn = {}; // whatever else was waiting to ask has been overtaken
    try {
      const answer = await fetch(this.data.url, { cache: "no-store" });
      if (answer.ok) this.hear(await answer.json());
    } catch (error) { /* the studio is away: it is asked again */ }
    if (turn === this.turn) this.wait(turn);
  }

  hear(news) {
    window.dispatchEvent(new CustomEvent("darkroom:pulse", { detail: news.jobs }));
    window.dispatchEvent(new CustomEvent("darkroom:queue", { detail: news }));
    const own = news.jobs[this.data.job];
    if (own) this.draw(own);
    const mark = this.data.by_image && own ? `${news.mark}.${own.image}` : news.mark;
    const now = Date.now();
    if (mark === this.data.mark || (mark === this.told.mark && now < this.told.when + AGAIN)) return;
    this.told = { mark, when: now };
    this.say("changed", mark);
  }

  draw({ words, done }) {
    if (words === undefined) return;
    const bar = this.box.querySelector(".bar");
    const percent = Math.round(100 * done);
    this.box.querySelector(".words").textContent = words;
    Object.entries({ role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }).forEach((one) => bar.setAttribute(...one));
    bar.setAttribute("aria-label", words);
    bar.setAttribute("aria-valuenow", percent);
    bar.firstElementChild.style.width = `${percent}%`;
  }
}
