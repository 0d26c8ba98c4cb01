// One line of facts; a click copies the value.
export default function ({ data, parentElement }) {
  const line = parentElement.querySelector(".facts");
  const wanted = JSON.stringify(data);
  if (line.dataset.shown === wanted) return;
  line.dataset.shown = wanted;
  line.replaceChildren(...data.facts.map(([label, value, copied]) => {
    const fact = document.createElement("button");
    fact.type = "button";
    fact.title = data.hint;
    const name = document.createElement("span");
    name.textContent = label;
    const words = document.createElement("b");
    words.textContent = value;
    fact.append(name, words);
    fact.onclick = async () => {
      await navigator.clipboard.writeText(copied);
      words.textContent = data.done;
      setTimeout(() => { words.textContent = value; }, 900);
    };
    return fact;
  }));
}
