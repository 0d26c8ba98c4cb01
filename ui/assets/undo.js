// What was just done, with a button that undoes it: for some seconds, also on the next page. Ctrl+Z undoes it, too.
const SECONDS = 10;
const since = new Map(); // number of an action -> when it was first shown

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".undo");
  const [act, x] = box.querySelectorAll("button");
  clearTimeout(box.timer);
  if (!since.has(data.number)) since.set(data.number, performance.now());
  const left = SECONDS * 1000 - (performance.now() - since.get(data.number));
  box.hidden = !data.number || left <= 0;
  const hide = () => { box.hidden = true; since.set(data.number, -Infinity); };
  const undo = () => { hide(); setTriggerValue("undone", data.number); };
  box.querySelector("span").textContent = data.words;
  act.textContent = data.label;
  act.onclick = undo;
  x.title = data.close;
  x.setAttribute("aria-label", data.close);
  x.onclick = hide;
  const wait = (time) => { clearTimeout(box.timer); box.timer = setTimeout(hide, time); };
  if (!box.hidden) wait(left);
  box.onpointerenter = box.onfocusin = () => clearTimeout(box.timer);
  box.onpointerleave = box.onfocusout = () => wait(SECONDS * 500);
  if (box.hear) document.removeEventListener("keydown", box.hear);
  box.hear = (event) => {
    if (!box.isConnected) return document.removeEventListener("keydown", box.hear);
    if (box.hidden || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
    if (event.composedPath()[0].matches?.("input, textarea, [contenteditable=true]")) return;
    event.preventDefault();
    undo();
  };
  document.addEventListener("keydown", box.hear);
  return () => document.removeEventListener("keydown", box.hear);
}
