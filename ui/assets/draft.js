// What is typed is never lost: the form of a page lies in the browser's storage of this tab, and each letter of a text field the
// moment it is typed. A page that is opened anew gives it back once in a session; a new tab begins with what any tab typed last.
// A number that is being typed goes to the program when its field is left; until then it is kept beside the form.
// While words are on their way to the page's program, the document has `data-unsent`: clicks that leave the page wait for them.
const RETRY_MS = 3000, STEP_MS = 30, HOLD_MS = 10000;
const root = document.documentElement;

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector("i");
  if (opens(data)) restore(box, data, setTriggerValue);
  else {
    settle(box, data);
    const typed = unsent(read(data), data);
    if (!box.asked && typed) setTriggerValue("typed", typed);
    else write(data, { values: data.values, typed: typed ?? {}, fills: data.fills, numbers: numbers(box) });
    root.toggleAttribute("data-unsent", typed !== null);
  }
  box.asked = true;
  if (box.hear) document.removeEventListener("input", box.hear, true);
  box.hear = ({ target }) => {
    if (!box.isConnected) return document.removeEventListener("input", box.hear, true);
    const key = Object.keys(data.texts).find((one) => target.closest?.(data.texts[one]));
    const kept = read(data);
    if (!key && settled(data)) return hearNumber(box, data, kept, target);
    if (!key) return;
    const values = settled(data) ? data.values : kept.values; // until what was kept has been taken, it stays
    write(data, { ...kept, values, typed: { ...kept?.typed, [key]: target.value }, fills: data.fills });
    root.toggleAttribute("data-unsent", true);
  };
  document.addEventListener("input", box.hear, true);
  return () => setTimeout(() => {
    if (box.isConnected) return;
    clearInterval(box.hold);
    root.toggleAttribute("data-unsent", false);
  });
}

// Whether the page has been opened anew, and the browser has kept another form than the page shows. It is asked once in a
// session: what the program knows later is newer than what was kept.
function opens(data) {
  const kept = read(data);
  return data.fresh && !settled(data) && kept && differs(all(kept), data.values);
}

function all(kept) {
  return { ...kept.values, ...kept.typed, ...kept.numbers };
}

// Keeps the number of a field of the form, which is found by the class that Streamlit makes of the field's key.
function hearNumber(box, data, kept, field) {
  const host = field.type === "number" && field.closest('[class*="st-key-"]');
  const key = host && Object.keys(data.values).find((one) => host.classList.contains(className(data.prefix + one)));
  if (!key) return;
  box.number = { field, key };
  write(data, { ...kept, numbers: numbers(box) });
}

// The number in the field that has the focus, by its key.
function numbers({ number }) {
  const open = number && number.field === document.activeElement && number.field.value !== "";
  return open ? { [number.key]: Number(number.field.value) } : {};
}

function className(key) {
  return `st-key-${key.replace(/[^a-zA-Z0-9_-]/g, "-")}`;
}

// The mark tells the session whose program has the form.
function mark({ name }) {
  return `data-kept-${name}`;
}

function settled(data) {
  return root.getAttribute(mark(data)) === data.session;
}

// The page's program has the form as it was kept: from here on its own values are kept.
function settle(box, data) {
  clearInterval(box.hold);
  hold(data, false);
  root.setAttribute(mark(data), data.session);
}

// Gives back what was kept, with what has been typed since the page was there, until the page's program has taken it: a rerun
// that starts at the same time can swallow the first request. The form takes no input meanwhile, which would be overwritten.
function restore(box, data, setTriggerValue) {
  const kept = read(data);
  const send = () => setTriggerValue("restored", { ...all(kept), ...present(data) });
  const since = Date.now();
  let sent = since;
  clearInterval(box.hold);
  hold(data, true);
  send();
  box.hold = setInterval(() => {
    hold(data, Date.now() - since < HOLD_MS);
    if (Date.now() - sent < RETRY_MS) return;
    sent = Date.now();
    send();
  }, STEP_MS);
}

// Lets the form take no input, or take it again, with the focus where it was.
function hold({ form: selector }, on) {
  const form = document.querySelector(selector);
  if (!form || form.inert === on) return;
  if (on) form.heldFocus = form.contains(document.activeElement) ? document.activeElement : null;
  form.inert = on;
  if (!on && document.activeElement === document.body) form.heldFocus?.focus();
}

// The words of text fields on the page that the program does not know.
function present({ texts, values }) {
  const words = Object.keys(texts).map((key) => [key, document.querySelector(`${texts[key]} :is(input, textarea)`)?.value]);
  return Object.fromEntries(words.filter(([key, text]) => text && text !== (values[key] ?? "")));
}

// What was typed and has not reached the page's program, unless that has put other words there since.
function unsent(kept, { values, texts, fills, fresh }) {
  if (!kept?.typed || (!fresh && kept.fills !== fills)) return null;
  const other = Object.entries(kept.typed).filter(([key, words]) => key in texts && words !== (values[key] ?? ""));
  return other.length ? Object.fromEntries(other) : null;
}

function differs(kept, values) {
  return Object.keys(kept).some((key) => JSON.stringify(kept[key]) !== JSON.stringify(values[key]));
}

function read({ name }) {
  try {
    return JSON.parse(stored("tab", `zd-${name}`) ?? stored("browser", `zd-${name}-last`));
  } catch { return null; } // no draft of this program
}

function write({ name }, draft) {
  const text = JSON.stringify(draft);
  store("tab", `zd-${name}`, text);
  store("browser", `zd-${name}-last`, text);
}
