// Images by day with the seconds that one took, and by model, sampler and size. A click picks what was clicked.
const SVG = "http://www.w3.org/2000/svg";

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".statistics");
  const wanted = JSON.stringify(data);
  if (box.dataset.shown === wanted) return;
  box.dataset.shown = wanted;
  const pick = (id) => setTriggerValue("picked", id);
  const groups = document.createElement("div");
  groups.className = "groups";
  groups.append(...data.groups.filter(({ items }) => items.length).map((group) => bars(group, pick)));
  const figures = [columns(data.words.images, data.days, "images", pick, false)];
  if (data.days.some((day) => day.seconds !== null)) figures.push(columns(data.words.seconds, data.days, "seconds", pick, true));
  box.replaceChildren(...figures, groups);
}

// One column a day, or a point, with a line through them; the arrows go from one to the next.
function columns(title, days, name, pick, line) {
  const section = titled(title);
  const most = Math.max(...days.map((day) => day[name] ?? 0), 0);
  const scale = document.createElement("small");
  scale.className = "most";
  scale.textContent = days.find((day) => day[name] === most)?.[`${name}_text`] ?? "";
  const plot = document.createElement("div");
  plot.className = line ? "plot line" : "plot";
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", title);
  const made = days.map((day, k) => {
    const column = document.createElement("button");
    column.type = "button";
    column.tabIndex = k === days.length - 1 ? 0 : -1;
    column.title = `${day.label}: ${day[`${name}_text`]}`;
    column.setAttribute("aria-label", column.title);
    const bar = document.createElement("i");
    bar.style.height = `${most ? (100 * (day[name] ?? 0)) / most : 0}%`;
    column.append(bar);
    column.classList.toggle("none", day[name] === null);
    column.onclick = () => pick(day.id);
    return column;
  });
  plot.onkeydown = (event) => {
    const at = made.indexOf(plot.getRootNode().activeElement);
    const to = at + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0);
    if (at < 0 || to === at || !made[to]) return;
    event.preventDefault();
    event.stopPropagation();
    made[at].tabIndex = -1;
    made[to].tabIndex = 0;
    made[to].focus();
  };
  plot.append(...made);
  if (line) plot.append(path(days, name, most));
  const axis = document.createElement("div");
  axis.className = "axis";
  for (const day of days.length > 1 ? [days[0], days.at(-1)] : days) {
    const end = document.createElement("small");
    end.textContent = day.label;
    axis.append(end);
  }
  section.append(scale, plot, axis);
  return section;
}

// A line through all points; a single one is a short level line.
function path(days, name, most) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${days.length} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const drawn = document.createElementNS(SVG, "polyline");
  const points = days.flatMap((day, k) => (day[name] === null ? [] : [[k + 0.5, most ? 1 - day[name] / most : 1]]));
  const [[x, y]] = points;
  const shown = points.length > 1 ? points : [[x - 0.2, y], [x + 0.2, y]];
  drawn.setAttribute("points", shown.join(" "));
  svg.append(drawn);
  return svg;
}

function bars({ title, items }, pick) {
  const section = titled(title);
  const most = Math.max(...items.map((one) => one.images));
  for (const { id, label, images, text } of items) {
    const row = document.createElement(id ? "button" : "div");
    if (id) {
      row.type = "button";
      row.onclick = () => pick(id);
    }
    row.className = "row";
    row.title = `${label}: ${text}`;
    const name = document.createElement("span");
    name.textContent = label;
    const bar = document.createElement("i");
    bar.style.width = `${(100 * images) / most}%`;
    const track = document.createElement("em");
    track.append(bar);
    const count = document.createElement("b");
    count.textContent = text;
    row.append(name, track, count);
    section.append(row);
  }
  return section;
}

function titled(title) {
  const section = document.createElement("section");
  const heading = document.createElement("h2");
  heading.textContent = title;
  section.append(heading);
  return section;
}
