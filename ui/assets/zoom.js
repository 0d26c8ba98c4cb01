// A picture to look into. Wheel, +, - and a double click zoom; dragging moves; 0 fits; the arrows go to the next picture.
export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".zoom");
  const image = box.querySelector("img");
  box.style.setProperty("--ratio", data.ratio);
  box.title = data.hint;
  box.setAttribute("aria-label", data.alt);
  if (box.dataset.src !== data.src) {
    box.dataset.src = data.src;
    image.src = data.src;
    image.alt = data.alt;
    place(box, image, 1, 0, 0);
    box.scrollIntoView({ block: "nearest" }); // on a narrow screen it is above what was clicked
  }
  box.onwheel = (event) => {
    event.preventDefault();
    zoomTo(box, image, box.at.scale * Math.exp(-event.deltaY / 400), event);
  };
  box.ondblclick = (event) => zoomTo(box, image, box.at.scale > 1 ? 1 : actual(image), event);
  box.onpointerdown = (event) => {
    if (box.at.scale === 1) return;
    box.setPointerCapture(event.pointerId);
    box.drag = { x: event.clientX - box.at.x, y: event.clientY - box.at.y };
  };
  box.onpointermove = (event) => {
    if (box.drag) place(box, image, box.at.scale, event.clientX - box.drag.x, event.clientY - box.drag.y);
  };
  box.onpointerup = box.onpointercancel = () => { box.drag = null; };
  box.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const scale = { "+": box.at.scale * 1.5, "=": box.at.scale * 1.5, "-": box.at.scale / 1.5, 0: 1 }[event.key];
    if (step) setTriggerValue("step", step);
    else if (scale) zoomTo(box, image, scale);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  hear(box);
}

// The arrows work, too, while nothing else on the page has the keyboard.
function hear(box) {
  if (box.heard) return;
  box.heard = (event) => {
    if (!box.isConnected) document.removeEventListener("keydown", box.heard);
    else if (document.activeElement === document.body && event.key.startsWith("Arrow")) box.onkeydown(event);
  };
  document.addEventListener("keydown", box.heard);
}

function actual(image) {
  return Math.max(2, image.naturalWidth / (image.clientWidth || 1));
}

function zoomTo(box, image, wanted, event) {
  const scale = Math.min(16, Math.max(1, wanted));
  const area = box.getBoundingClientRect();
  const x = event ? event.clientX - area.left - area.width / 2 : 0;
  const y = event ? event.clientY - area.top - area.height / 2 : 0;
  const grow = scale / box.at.scale;
  place(box, image, scale, x - (x - box.at.x) * grow, y - (y - box.at.y) * grow);
}

function place(box, image, scale, x, y) {
  box.at = scale === 1 ? { scale, x: 0, y: 0 } : { scale, x, y };
  box.classList.toggle("near", scale > 1);
  image.style.transform = `translate(${box.at.x}px, ${box.at.y}px) scale(${scale})`;
}
