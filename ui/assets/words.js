// A line about one job, kept up to date by what the page hears of the jobs in work.
export default function ({ data, parentElement }) {
  const line = parentElement.querySelector(".line");
  line.textContent = data.words;
  const hear = ({ detail }) => { if (detail[data.job]) line.textContent = detail[data.job].words; };
  window.removeEventListener("darkroom:pulse", line.hear);
  window.addEventListener("darkroom:pulse", (line.hear = hear));
  return () => window.removeEventListener("darkroom:pulse", hear);
}
