/* The filters above a table. Their state lives in the address (#family=vision&verdict=contradicted), so that a view can be linked to. */
const form = document.querySelector("form.filters");
if (form) {
  const rows = [...document.querySelectorAll("tr[data-claims]")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const fields = [...form.elements].filter((field) => field.name);

  const show = () => {
    const { family, framework, verdict, scale, text } = Object.fromEntries(fields.map((field) => [field.name, field.value]));
    const words = text.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, i) => {
      const { family: ofFamily, framework: ofFramework, claims } = row.dataset;
      const claimFits = claims.split(";").some((pair) => {
        const [itsVerdict, itsScale] = pair.split("|");
        return (!verdict || verdict === itsVerdict) && (!scale || scale === itsScale);
      });
      row.hidden = !(claimFits && (!family || family === ofFamily) && (!framework || framework === ofFramework) && words.every((word) => texts[i].includes(word)));
      shown += !row.hidden;
    });
    form.querySelector("output").textContent = `${shown} of ${rows.length} ${form.dataset.what}`;
  };
  const read = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const field of fields) field.value = wanted.get(field.name) ?? "";
    show();
  };
  const write = () => {
    const state = new URLSearchParams(fields.filter((field) => field.value).map((field) => [field.name, field.value]));
    history.replaceState(null, "", `#${state}`);
    show();
  };
  form.addEventListener("input", write);
  form.addEventListener("reset", () => setTimeout(write));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  read();
}
