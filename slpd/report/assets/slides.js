// The slides of a cohort: filters, order, pictures or a table, a screenful at a time.
"use strict";

(() => {
  const data = pageData("slides");
  const BATCH = 60;
  const texts = new Map(); // slide -> what the search looks at

  const EXCLUDED = {
    n_little_tissue: "little tissue",
    n_pen: "pen",
    n_padding: "padding",
    n_blurred: "blurred",
    n_invalid: "invalid",
  };
  const remarks = {
    "": ["all", () => true],
    excluded: ["has excluded regions", (slide) => Object.keys(EXCLUDED).some((key) => slide[key])],
    pen: ["pen", (slide) => slide.pen_share || slide.n_pen],
    padding: ["padding", (slide) => slide.padding_share || slide.n_padding],
    blurred: ["blurred regions", (slide) => slide.n_blurred],
    damaged: ["parts that cannot be read", (slide) => slide.n_invalid || slide.n_unreadable],
    conflict: ["resolution in doubt", (slide) => slide.conflict],
    mask: ["mask of the sheet", (slide) => slide.mask_source === "sheet"],
  };
  const orders = {
    slide: ["slide", null],
    fewest: ["fewest regions", (slide) => slide.n_regions ?? -1],
    most: ["most regions", (slide) => -(slide.n_regions ?? -1)],
    tissue: ["least tissue", (slide) => slide.tissue_mm2 ?? -1],
    pen: ["most pen", (slide) => -(slide.pen_share ?? 0)],
    padding: ["most padding", (slide) => -(slide.padding_share ?? 0)],
    blurred: ["most blurred", (slide) => -(slide.n_blurred ?? 0)],
  };

  function options(select, entries) {
    for (const [value, text] of entries) select.append(element("option", { value }, text));
  }

  function searched(slide) {
    if (!texts.has(slide)) {
      const words = [slide.slide, slide.reason, slide.stage, ...Object.values(slide.labels)];
      texts.set(slide, words.join(" ").toLowerCase());
    }
    return texts.get(slide);
  }

  function chosen() {
    const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = byId("status").value;
    const remark = remarks[byId("remark").value][1];
    const columns = [...document.querySelectorAll("#columns select")].filter((select) => select.value !== "");
    const found = data.slides.filter(
      (slide) =>
        (status === "" || slide.used === (status === "used")) &&
        remark(slide) &&
        columns.every((select) => slide.labels[select.dataset.column] === JSON.parse(select.value)) &&
        words.every((word) => searched(slide).includes(word)),
    );
    const key = orders[byId("order").value][1];
    return key ? [...found].sort((a, b) => key(a) - key(b)) : found;
  }

  function number(value) {
    if (value === undefined || value === null) return "–";
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
  }

  function picture({ picture: src, slide }) {
    const image = { src, loading: "lazy", decoding: "async", alt: `${slide}: tissue and regions` };
    return element("a", { class: "picture", href: src, target: "_blank", rel: "noopener" }, element("img", image));
  }

  function card(slide) {
    const reasons = Object.entries(EXCLUDED).filter(([key]) => slide[key]);
    const excluded = reasons.map(([key, name]) => `${slide[key]} ${name}`).join(", ");
    const area = slide.tissue_mm2 === undefined ? "" : `, ${number(slide.tissue_mm2)} mm²`;
    const labels = Object.entries(slide.labels)
      .filter(([, value]) => value)
      .map(([name, value]) => `${name} ${value}`);
    return element(
      "li",
      { class: "card" },
      slide.picture ? picture(slide) : null,
      element("h3", {}, slide.slide),
      slide.used
        ? element("p", {}, `${slide.n_regions ?? 0} regions${area}`)
        : element("p", { class: "bad" }, `left out in ${slide.stage}: ${slide.reason}`),
      excluded ? element("p", {}, `excluded: ${excluded}`) : null,
      slide.conflict ? element("p", { class: "bad" }, slide.conflict) : null,
      element("p", {}, labels.join(" · ")),
    );
  }

  function tableRow(slide) {
    const labels = data.columns.map((column) => element("td", {}, slide.labels[column.name] ?? ""));
    const numbers = Object.keys(data.numbers).map((key) => element("td", { class: "number" }, number(slide[key])));
    const words = Object.keys(data.texts).map((key) => element("td", {}, slide[key] ?? "–"));
    const status = element(
      "td",
      { class: slide.used ? null : "bad" },
      slide.used ? "used" : `left out: ${slide.reason}`,
    );
    return element("tr", {}, element("th", { scope: "row" }, slide.slide), status, ...labels, ...numbers, ...words);
  }

  function emptyTable() {
    const head = (kind) => (text) => element("th", { scope: "col", class: kind }, text);
    const texts = ["slide", "status", ...data.columns.map((column) => column.name)].map(head("text"));
    const numbers = Object.values(data.numbers).map(head("number"));
    const row = element("tr", {}, ...texts, ...numbers, ...Object.values(data.texts).map(head("text")));
    const caption = element("caption", { class: "unseen" }, "Slides");
    const body = element("tbody");
    byId("rows").replaceChildren(element("table", {}, caption, element("thead", {}, row), body));
    return body;
  }

  let found = [];
  let place = 0;
  let target = byId("cards");

  function more() {
    const make = byId("rows").hidden ? card : tableRow;
    target.append(...found.slice(place, place + BATCH).map(make));
    place = Math.min(place + BATCH, found.length);
    byId("more").hidden = place >= found.length;
  }

  function show() {
    const asTable = !data.hasPictures || byId("view").value === "table";
    byId("rows").hidden = !asTable;
    byId("cards").hidden = asTable;
    byId("cards").replaceChildren();
    target = asTable ? emptyTable() : byId("cards");
    found = chosen();
    place = 0;
    byId("shown").textContent = `${found.length} of ${data.slides.length} slides`;
    more();
  }

  options(
    byId("remark"),
    Object.entries(remarks).map(([value, [text]]) => [value, text]),
  );
  options(
    byId("order"),
    Object.entries(orders).map(([value, [text]]) => [value, text]),
  );
  for (const column of data.columns.filter((one) => one.values.length > 1)) {
    const select = element("select", { "data-column": column.name }, element("option", { value: "" }, "all"));
    options(
      select,
      column.values.map((value) => [JSON.stringify(value), value || "(empty)"]),
    );
    byId("columns").append(element("label", {}, column.name, select));
  }
  byId("controls").addEventListener("input", show);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", more);
  new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) more();
    },
    { rootMargin: "600px" },
  ).observe(byId("more"));
  show();
})();
