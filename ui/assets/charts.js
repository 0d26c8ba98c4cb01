// Small line charts of the last hour: a title, the present value, the line. Drawn as SVG; names and numbers are set as text.
const WIDTH = 300, HEIGHT = 64, HOUR = 3600;

export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".charts");
  box.replaceChildren(...data.charts.map((chart) => figure(chart, data)));
}

function figure({ name, unit, points, most, now }, { ago, none }) {
  const part = document.createElement("figure");
  const title = document.createElement("figcaption");
  const value = document.createElement("b");
  title.textContent = name;
  value.textContent = now;
  title.append(value);
  const peak = most ?? Math.max(1e-9, ...points.map(([, y]) => y)) * 1.15;
  part.append(title, points.length > 1 ? lines(points, peak, `${name}: ${now}`) : empty(none));
  const scale = document.createElement("small");
  scale.textContent = points.length > 1 ? `0 – ${short(peak)} ${unit} · ${ago}` : "";
  part.append(scale);
  return part;
}

function lines(points, peak, label) {
  const x = (seconds) => WIDTH * (1 - Math.min(HOUR, seconds) / HOUR);
  const y = (value) => HEIGHT - HEIGHT * Math.min(1, value / peak);
  const path = points.map(([seconds, value], k) => `${k ? "L" : "M"}${x(seconds).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  const first = x(points[0][0]).toFixed(1), last = x(points.at(-1)[0]).toFixed(1);
  svg.append(make("path", { class: "area", d: `${path}L${last} ${HEIGHT}L${first} ${HEIGHT}Z` }), make("path", { class: "line", d: path }));
  return svg;
}

function empty(words) {
  const line = document.createElement("p");
  line.textContent = words;
  return line;
}

function make(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const short = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, "");
