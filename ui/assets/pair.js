// Two images beside one another. A new pair takes the focus, so that the page's keys answer for it at once.
export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".pair");
  frame.setAttribute("aria-label", data.label);
  const wanted = JSON.stringify(data.images);
  if (frame.dataset.shown === wanted) return;
  frame.dataset.shown = wanted;
  frame.replaceChildren(...data.images.map(({ src, alt }) => {
    const image = document.createElement("img");
    image.src = src;
    image.alt = alt;
    return image;
  }));
  frame.focus({ preventScroll: true });
}
