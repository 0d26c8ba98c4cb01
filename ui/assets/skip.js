// The keyboard's first stop: a link that skips to a field, before the bar at the top of the page, which no component can be.
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector("i");
  const link = document.querySelector(".zd-skip") ?? document.createElement("button");
  link.type = "button";
  link.className = "zd-skip";
  link.textContent = data.label;
  link.onclick = () => document.querySelector(data.field)?.focus();
  if (document.body.firstElementChild !== link) document.body.prepend(link);
  return () => setTimeout(() => { if (!box.isConnected) link.remove(); });
}
