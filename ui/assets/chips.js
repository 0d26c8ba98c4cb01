// A chip for each filter that is set; its x removes it.
export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".chips");
  const wanted = JSON.stringify(data);
  if (box.dataset.shown === wanted) return;
  box.dataset.shown = wanted;
  const chips = data.chips.map(([id, label]) => {
    const chip = button(label, `${data.remove}: ${label}`);
    const x = document.createElement("i");
    x.textContent = "✕";
    x.setAttribute("aria-hidden", "true");
    chip.append(x);
    chip.dataset.id = id;
    chip.onclick = () => setTriggerValue("removed", id);
    return chip;
  });
  if (chips.length) {
    const all = button(data.clear, data.clear);
    all.classList.add("clear");
    all.onclick = () => setTriggerValue("cleared", true);
    chips.push(all);
  }
  box.replaceChildren(...chips);
}

function button(words, name) {
  const made = document.createElement("button");
  made.type = "button";
  made.title = name;
  made.setAttribute("aria-label", name);
  const label = document.createElement("span");
  label.textContent = words;
  made.append(label);
  return made;
}
