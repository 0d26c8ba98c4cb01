// Two images on one another; a range field, which mouse, finger and keyboard know, moves the line between them.
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".slider");
  const field = box.querySelector("input");
  box.style.setProperty("--ratio", data.ratio);
  box.querySelectorAll("img").forEach((image, k) => {
    if (image.getAttribute("src") !== data.images[k].src) image.src = data.images[k].src;
    image.alt = data.images[k].alt;
  });
  field.setAttribute("aria-label", data.label);
  field.step = 0.1;
  field.oninput = () => box.style.setProperty("--at", `${field.value}%`);
}
