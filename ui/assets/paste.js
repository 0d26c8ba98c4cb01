// A image from the clipboard, pasted anywhere on the page or dropped here: its bytes go to the studio, its name to the page.
export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".paste");
  box.firstElementChild.textContent = data.label;
  const take = async (file) => {
    box.classList.add("busy");
    const answer = await keep(file).catch((error) => ({ problem: String(error) }));
    box.classList.remove("busy");
    box.lastElementChild.textContent = answer.digest ? "" : (answer.error?.[data.language] ?? answer.problem ?? "?");
    if (answer.digest) setTriggerValue("kept", answer.digest);
  };
  box.take = take;
  box.ondragover = (event) => { event.preventDefault(); box.classList.add("over"); };
  box.ondragleave = () => box.classList.remove("over");
  box.ondrop = (event) => {
    event.preventDefault();
    box.classList.remove("over");
    const file = imageOf(event.dataTransfer);
    if (file) take(file);
  };
  if (box.heard) return;
  box.heard = (event) => {
    if (!box.isConnected) return document.removeEventListener("paste", box.heard);
    const file = imageOf(event.clipboardData);
    if (!file) return; // text is for the field that has the keyboard
    event.preventDefault();
    box.take(file);
  };
  document.addEventListener("paste", box.heard);
}

function imageOf(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
}

async function keep(blob) {
  const answer = await fetch("/api/inputs", { method: "POST", body: blob, headers: { "Content-Type": blob.type } });
  return answer.json();
}
