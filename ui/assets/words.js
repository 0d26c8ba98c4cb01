// A job in work: its preview, a line of words and a bar, kept up to date by what the page hears of the jobs in work.
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".job");
  const draw = (news) => {
    const image = box.querySelector("img"), bar = box.querySelector(".bar"), percent = Math.round(100 * news.done);
    const src = news.src || data.last || "";
    if (src && image.getAttribute("src") !== src) image.src = src;
    image.classList.toggle("blank", !image.getAttribute("src"));
    box.querySelector(".line").textContent = news.words;
    Object.entries({ role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }).forEach((one) => bar.setAttribute(...one));
    bar.setAttribute("aria-label", data.title);
    bar.setAttribute("aria-valuenow", percent);
    bar.firstElementChild.style.width = `${percent}%`;
  };
  draw(data);
  const hear = ({ detail }) => { if (detail[data.job]) draw(detail[data.job]); };
  window.removeEventListener("darkroom:pulse", box.hear);
  window.addEventListener("darkroom:pulse", (box.hear = hear));
  return () => window.removeEventListener("darkroom:pulse", hear);
}
