// What is typed is never lost: the form lies in the browser's storage of this tab, and each letter of a text field the moment
// it is typed. A page that is opened anew gives it back once; a new tab begins with what was typed last in any tab.
const TAB = "zd-draft", LAST = "zd-draft-last";
const NAVIGATION = 'a[data-testid$="NavLink"]', RETRY_MS = 3000, COMMIT_MS = 3000, STEP_MS = 30, HOLD_MS = 10000;

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".draft");
  const skip = skipLink();
  skip.textContent = data.skip;
  skip.onclick = () => document.querySelector(`${data.fields[data.first]} textarea`)?.focus();
  if (opens(data)) restore(box, data, setTriggerValue);
  else {
    settle(box, data);
    const typed = unsent(read(), data);
    if (!box.asked && typed) setTriggerValue("typed", typed);
    else write({ values: data.values, typed: typed ?? {}, fills: data.fills });
  }
  box.asked = true;
  if (box.hear) document.removeEventListener("input", box.hear, true);
  box.hear = (event) => {
    if (!box.isConnected) return document.removeEventListener("input", box.hear, true);
    const key = Object.keys(data.fields).find((one) => event.target.closest?.(data.fields[one]));
    if (!key) return;
    const kept = read();
    const values = settled(data) ? data.values : kept.values; // until what was kept has been taken, it stays
    write({ values, typed: { ...kept?.typed, [key]: event.target.value }, fills: data.fills });
  };
  document.addEventListener("input", box.hear, true);
  if (box.leave) document.removeEventListener("click", box.leave, true);
  box.leave = (event) => leave(event, box);
  document.addEventListener("click", box.leave, true);
  return () => setTimeout(() => {
    if (box.isConnected) return;
    clearInterval(box.hold);
    skip.remove();
  });
}

// Whether the page has been opened anew, and the browser has kept another form than the page shows. It is asked once in a
// session: what the program knows later is newer than what was kept.
function opens(data) {
  const kept = read();
  return data.fresh && !settled(data) && kept && differs({ ...kept.values, ...kept.typed }, data.values);
}

function settled(data) {
  return document.documentElement.dataset.draft === data.session;
}

// The page's program has the form as it was kept: from here on its own values are kept.
function settle(box, data) {
  clearInterval(box.hold);
  hold(false);
  document.documentElement.dataset.draft = data.session;
}

// Gives back what was kept, with what has been typed since the page was there, until the page's program has taken it: a rerun
// that starts at the same time can swallow the first request. The form takes no input meanwhile, which would be overwritten.
function restore(box, data, setTriggerValue) {
  const kept = read();
  const send = () => setTriggerValue("restored", { ...kept.values, ...kept.typed, ...present(data) });
  const since = Date.now();
  let sent = since;
  clearInterval(box.hold);
  hold(true);
  send();
  box.hold = setInterval(() => {
    hold(Date.now() - since < HOLD_MS);
    if (Date.now() - sent < RETRY_MS) return;
    sent = Date.now();
    send();
  }, STEP_MS);
}

// Lets the form take no input, or take it again, with the focus where it was.
function hold(on) {
  const form = document.querySelector(".st-key-form_zone");
  if (!form || form.inert === on) return;
  if (on) form.heldFocus = form.contains(document.activeElement) ? document.activeElement : null;
  form.inert = on;
  if (!on && document.activeElement === document.body) form.heldFocus?.focus();
}

// The words of text fields on the page that the program does not know.
function present({ fields, values }) {
  const words = Object.keys(fields).map((key) => [key, document.querySelector(`${fields[key]} textarea`)?.value]);
  return Object.fromEntries(words.filter(([key, text]) => text && text !== (values[key] ?? "")));
}

// A click that leaves the page can overtake what was typed last; that would then arrive for this page and lead back to it.
function leave(event, box) {
  const link = event.isTrusted && event.target.closest?.(NAVIGATION);
  if (!link || !box.isConnected || !unsentNow()) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  document.activeElement?.blur();
  const until = Date.now() + COMMIT_MS;
  const go = () => (unsentNow() && Date.now() < until ? setTimeout(go, STEP_MS) : link.click());
  go();
}

// Whether a text field has words that the page's program has not had yet.
function unsentNow() {
  return Object.keys(read()?.typed ?? {}).length > 0;
}

// The keyboard's first stop: before the bar at the top of the page, which no component can be.
function skipLink() {
  const link = document.querySelector(".zd-skip") ?? document.createElement("button");
  link.type = "button";
  link.className = "zd-skip";
  if (document.body.firstElementChild !== link) document.body.prepend(link);
  return link;
}

// What was typed and has not reached the page's program, unless that has put other words there since.
function unsent(kept, { values, fills, fresh }) {
  if (!kept?.typed || (!fresh && kept.fills !== fills)) return null;
  const other = Object.entries(kept.typed).filter(([key, words]) => words !== (values[key] ?? ""));
  return other.length ? Object.fromEntries(other) : null;
}

function differs(kept, values) {
  return Object.keys(kept).some((key) => JSON.stringify(kept[key]) !== JSON.stringify(values[key]));
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(TAB) ?? localStorage.getItem(LAST));
  } catch { return null; }
}

function write(draft) {
  try {
    const text = JSON.stringify(draft);
    sessionStorage.setItem(TAB, text);
    localStorage.setItem(LAST, text);
  } catch { /* storage is off or full: nothing else depends on it */ }
}
