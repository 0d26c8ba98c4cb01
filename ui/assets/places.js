// The places of the history with their counts: one tab stop, arrows move, a click or Enter opens one.
const MOST = 8; // of a section, before the rest is asked for
const whole = new Set(); // the sections that are shown whole

export default function ({ data, parentElement, setTriggerValue }) {
  const nav = parentElement.querySelector(".places");
  nav.setAttribute("aria-label", data.words.label);
  const draw = () => {
    const focused = nav.getRootNode().activeElement?.dataset?.id;
    nav.replaceChildren(...data.sections.filter(({ items }) => items.length).map((section) => list(section, data.words, draw)));
    const all = [...nav.querySelectorAll("button.place")];
    const first = all.find((one) => one.hasAttribute("aria-current")) ?? all[0];
    all.forEach((one) => { one.tabIndex = one === first ? 0 : -1; });
    for (const one of all) one.onclick = () => setTriggerValue("picked", one.dataset.id);
    if (focused) all.find((one) => one.dataset.id === focused)?.focus({ preventScroll: true });
  };
  const wanted = JSON.stringify(data);
  if (nav.dataset.shown !== wanted) {
    nav.dataset.shown = wanted;
    draw();
  }
  nav.onkeydown = (event) => {
    const all = [...nav.querySelectorAll("button.place")];
    const at = all.indexOf(nav.getRootNode().activeElement);
    const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined || !all[to]) return;
    event.preventDefault();
    event.stopPropagation();
    all[at].tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  };
}

function list({ title, items }, words, draw) {
  const section = document.createElement("section");
  if (title) {
    const heading = document.createElement("h2");
    heading.textContent = title;
    section.append(heading);
  }
  const open = whole.has(title);
  const shown = open ? items : items.slice(0, MOST);
  const current = items.find((one) => one.open);
  if (current && !shown.includes(current)) shown.push(current);
  section.append(...shown.map(place));
  if (items.length > MOST) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    more.textContent = open ? words.less : `${words.more} (${items.length})`;
    more.onclick = () => { open ? whole.delete(title) : whole.add(title); draw(); };
    section.append(more);
  }
  return section;
}

function place({ id, label, count, icon, open }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "place";
  button.dataset.id = id;
  button.title = label;
  if (open) button.setAttribute("aria-current", "page");
  const sign = document.createElement("i");
  sign.textContent = icon;
  sign.setAttribute("aria-hidden", "true");
  const name = document.createElement("span");
  name.textContent = label;
  const number = document.createElement("b");
  number.textContent = count.toLocaleString();
  button.append(sign, name, number);
  return button;
}
