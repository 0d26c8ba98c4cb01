// The large picture. A new source is loaded first and exchanged when it is there, so that previews never flicker.
export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".frame");
  const image = parentElement.querySelector("img");
  const link = parentElement.querySelector("a");
  frame.style.setProperty("--ratio", data.width / data.height);
  frame.classList.toggle("forming", data.forming);
  image.alt = data.alt;
  if (data.forming) link.removeAttribute("href");
  else link.href = data.src;
  if (!data.src || image.dataset.wanted === data.src) return;
  image.dataset.wanted = data.src;
  const next = new Image();
  next.onload = () => {
    if (image.dataset.wanted !== data.src) return;
    image.src = data.src;
    frame.classList.remove("empty");
  };
  next.onerror = () => { delete image.dataset.wanted; };
  next.src = data.src;
}
