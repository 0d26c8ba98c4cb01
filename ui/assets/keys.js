// The keys of the History page, heard wherever nothing is typed: Esc, Del, Ctrl+A, 0 to 5, F.
export default function ({ parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".keys");
  if (box.hear) document.removeEventListener("keydown", box.hear);
  box.hear = (event) => {
    if (!box.isConnected) return document.removeEventListener("keydown", box.hear);
    const found = event.defaultPrevented ? null : meaning(event);
    if (!found || isBusy(event, found)) return;
    event.preventDefault();
    const path = event.composedPath();
    const tile = path.find((one) => one.classList?.contains("tile"));
    const open = path.some((one) => one.classList?.contains("st-key-detail"));
    // `at` makes two equal keys two events
    setTriggerValue("key", { ...found, id: tile?.dataset.id ?? "", open, at: performance.now() });
  };
  document.addEventListener("keydown", box.hear);
  return () => document.removeEventListener("keydown", box.hear);
}

function meaning(event) {
  const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
  if (altKey) return null;
  if (ctrlKey || metaKey) return key.toLowerCase() === "a" && !shiftKey ? { act: "all" } : null;
  if (key === "Escape") return { act: "escape" };
  if (key === "Delete") return { act: "trash" };
  if (/^[0-5]$/.test(key)) return { act: "rate", value: Number(key) };
  return key === "f" || key === "F" ? { act: "favourite" } : null;
}

// Something is typed, or a menu, a dialog or the large image is open, which has its own Esc.
function isBusy(event, { act }) {
  const target = event.composedPath()[0];
  if (target.matches?.("input, textarea, select, [contenteditable=true], [role=slider], [role=combobox], [role=option]")) return true;
  if (document.querySelector('[data-testid="stPopoverBody"], [data-testid="stDialog"], [role="listbox"]')) return true;
  return act === "escape" && event.composedPath().some((one) => one.tagName === "DIALOG");
}
