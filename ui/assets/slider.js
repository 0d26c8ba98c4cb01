// Two pictures on one another; a range field, which mouse, finger and keyboard know, moves the line between them.
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".slider");
  const field = box.querySelector("input");
  box.style.setProperty("--ratio", data.ratio);
  box.querySelectorAll("img").forEach((image, k) => {
    if (image.getAttribute("src") !== data.pictures[k].src) image.src = data.pictures[k].src;
    image.alt = data.pictures[k].alt;
  });
  field.setAttribute("aria-label", data.label);
  field.step = 0.1;
  field.oninput = () => box.style.setProperty("--at", `${field.value}%`);
}
