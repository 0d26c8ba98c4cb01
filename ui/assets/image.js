// The large image. A new source is loaded first and exchanged when it is there, so that previews never flicker.
export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".frame");
  const image = parentElement.querySelector("img");
  const link = parentElement.querySelector("a");
  frame.style.setProperty("--ratio", data.width / data.height);
  frame.classList.toggle("forming", data.forming);
  image.alt = data.alt;
  if (data.forming) link.removeAttribute("href");
  else link.href = data.src;
  show(frame, image, data.src);
  // while it forms, the page hears of its next preview
  const hear = ({ detail }) => { if (data.job && detail[data.job]) show(frame, image, detail[data.job].src); };
  window.removeEventListener("darkroom:pulse", frame.hear);
  window.addEventListener("darkroom:pulse", (frame.hear = hear));
  return () => window.removeEventListener("darkroom:pulse", hear);
}

function show(frame, image, src) {
  if (!src || image.dataset.wanted === src) return;
  image.dataset.wanted = src;
  const next = new Image();
  next.onload = () => {
    if (image.dataset.wanted !== src) return;
    image.src = src;
    frame.classList.remove("empty");
  };
  next.onerror = () => { delete image.dataset.wanted; };
  next.src = src;
}
