// Keeps the fields of a page in the browser's storage, those of this tab first, and gives them back to a page that is opened anew.
const RETRY_MS = 3000;
const asked = new Set(); // names that were asked for since the window was opened

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector("i");
  const name = `zd-${data.name}`;
  const kept = read(name);
  if (!asked.has(name)) box.waiting = kept && JSON.stringify(kept) !== JSON.stringify(data.values);
  asked.add(name);
  if (!data.fresh) box.waiting = false;
  clearTimeout(box.retry);
  const ask = () => {
    setTriggerValue("restored", read(name));
    box.retry = setTimeout(() => box.isConnected && ask(), RETRY_MS); // a rerun can swallow it
  };
  if (box.waiting) ask();
  else write(name, data.values);
  // A letter counts the moment it is typed: the page's program hears of a text only when its field is left.
  if (box.hear) document.removeEventListener("input", box.hear, true);
  box.hear = ({ target }) => {
    if (!box.isConnected) return document.removeEventListener("input", box.hear, true);
    const key = Object.keys(data.texts).find((one) => target.closest?.(data.texts[one]));
    if (key) write(name, { ...(read(name) ?? data.values), [key]: target.value });
  };
  document.addEventListener("input", box.hear, true);
}

function read(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name) ?? localStorage.getItem(name));
  } catch { return null; }
}

function write(name, values) {
  try {
    const text = JSON.stringify(values);
    sessionStorage.setItem(name, text);
    localStorage.setItem(name, text);
  } catch { /* storage is off or full: nothing else depends on it */ }
}
