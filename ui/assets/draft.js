// What is typed is never lost: the form lies in the browser's storage of this tab, and each letter of a text field the moment
// it is typed. A page that is opened anew asks for it back; a new tab begins with what was typed last in any tab.
const TAB = "zd-draft", LAST = "zd-draft-last";
const NAVIGATION = 'a[data-testid$="NavLink"]', RETRY_MS = 3000, COMMIT_MS = 3000, STEP_MS = 30;

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".draft");
  const skip = skipLink();
  skip.textContent = data.skip;
  skip.onclick = () => document.querySelector(`${data.fields[data.first]} textarea`)?.focus();
  const kept = read();
  const typed = unsent(kept, data);
  const whole = { ...kept?.values, ...kept?.typed };
  clearTimeout(box.retry);
  // What the page has already is not sent back: by the time it arrives, more may have been typed.
  if (kept && data.fresh && differs(whole, data.values)) restore(box, setTriggerValue);
  else if (!box.asked && typed) setTriggerValue("restored", typed);
  else write({ values: data.values, typed: typed ?? {}, fills: data.fills });
  box.asked = true;
  if (box.hear) document.removeEventListener("input", box.hear, true);
  box.hear = (event) => {
    if (!box.isConnected) return document.removeEventListener("input", box.hear, true);
    const key = Object.keys(data.fields).find((one) => event.target.closest?.(data.fields[one]));
    if (!key) return;
    const kept = read();
    const values = data.fresh && kept ? kept.values : data.values; // until what was kept has been taken, it stays
    write({ values, typed: { ...kept?.typed, [key]: event.target.value }, fills: data.fills });
  };
  document.addEventListener("input", box.hear, true);
  if (box.leave) document.removeEventListener("click", box.leave, true);
  box.leave = (event) => leave(event, box);
  document.addEventListener("click", box.leave, true);
  return () => setTimeout(() => { if (!box.isConnected) skip.remove(); });
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

// Asks for what was kept until the page has taken it: a rerun that starts at the same time can swallow the first request, and
// nothing may be written over it before.
function restore(box, setTriggerValue) {
  const kept = read();
  setTriggerValue("restored", { ...kept?.values, ...kept?.typed });
  box.retry = setTimeout(() => box.isConnected && restore(box, setTriggerValue), RETRY_MS);
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
