// Prototype atlas: the chosen slide with its prototypes, and the map of all prototypes.
"use strict";

const cohort = pageData("cohort");
const points = cohort.map;
const pointsOfSlide = new Map();
points.slide.forEach((slide, i) => pointsOfSlide.set(slide, [...(pointsOfSlide.get(slide) ?? []), i]));

const MAX_NUMBERED = 400; // regions; numbers on more are too small to read
let chosenSlide = -1;
let chosenPrototype = -1;

// ---- the chosen slide -------------------------------------------------------------------------------------------

async function showSlide(slide, prototype = -1) {
  chosenSlide = slide;
  chosenPrototype = prototype;
  keepInHash({ slide: cohort.slides[slide] });
  byId("slide-title").textContent = cohort.slides[slide];
  byId("slide").setAttribute("aria-busy", "true");
  const data = await slideData(cohort, slide, byId("slide-picture"));
  if (!data || slide !== chosenSlide) return;
  drawSlide(slide, data);
  drawStability(data);
  byId("slide").setAttribute("aria-busy", "false");
}

function drawSlide(slide, data) {
  byId("slide-facts").replaceChildren(slideFacts(slide, data));
  if (!cohort.kept[slide]) {
    byId("slide-prototypes").replaceChildren(element("p", { class: "warn" }, `This slide has no prototypes: ${data.x.length} regions are fewer than prototypes.min_regions.`));
  } else {
    byId("slide-prototypes").replaceChildren(...data.nearest.map((regions, k) => prototypeRow(slide, data, k, regions)));
  }
  drawRegions(slide, data);
}

function drawRegions(slide, data) {
  const numbered = data.x.length <= MAX_NUMBERED;
  const paint = (i) => {
    const k = data.assignment[i];
    const dim = chosenPrototype >= 0 && k !== chosenPrototype;
    return { fill: seriesColour(k), opacity: dim ? 0.06 : 0.5, text: numbered && k >= 0 && !dim ? String(k + 1) : "" };
  };
  const map = slideMap(cohort, slide, data, { paint, pick: (i) => regionFacts(slide, data, i), label: `${cohort.slides[slide]}: ${data.x.length} regions, coloured and numbered by prototype; arrow keys move` });
  byId("slide-picture").replaceChildren(map.node);
  document.querySelectorAll(".prototype").forEach((row, k) => {
    row.classList.toggle("dim", chosenPrototype >= 0 && k !== chosenPrototype);
    row.querySelector("button.mark").setAttribute("aria-pressed", String(k === chosenPrototype));
  });
}

function regionFacts(slide, data, i) {
  const k = data.assignment[i];
  const about = k < 0 ? "no prototype" : `prototype ${k + 1}, ${cohort.distance} ${decimals(data.distance[i])}`;
  return [pictureButton(cohort, slide, data, i, about), `Region ${i}: ${about}`];
}

function slideFacts(slide, data) {
  const facts = cohort.columns.map((column) => [column.name, valueOf(column, slide) || "not given"]);
  const size = physicalSize(data);
  facts.push(["regions", `${data.x.length}${size ? `, each ${size}` : ""}`]);
  const list = element("dl", { class: "rows" }, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  if (!data.geojson) return list;
  return element("div", {}, list, element("p", { class: "note" }, element("a", { href: data.geojson, download: true }, "GeoJSON for QuPath"), " regions with prototype, distance and the weights of all heads"));
}

function prototypeRow(slide, data, k, regions) {
  const mark = element(
    "button", { type: "button", class: "key mark", "aria-pressed": "false", title: "show only its regions on the slide", onclick: () => { chosenPrototype = chosenPrototype === k ? -1 : k; drawRegions(slide, data); } },
    badge(k), ` Prototype ${k + 1}`,
  );
  const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("i", { style: `width: ${100 * data.share[k]}%; background: ${seriesColour(k)}` }));
  const share = element("span", { class: "share" }, `${percent(data.share[k])} of tissue regions`, bar);
  const pictures = regions.map((i) => pictureButton(cohort, slide, data, i, `prototype ${k + 1}, ${cohort.distance} ${decimals(data.distance[i])}`));
  const empty = element("span", { class: "note" }, "no region is assigned to it");
  return element("div", { class: "prototype" }, element("h3", {}, mark, share), element("div", { class: "pictures" }, ...(pictures.length ? pictures : [empty])));
}

// ---- stability --------------------------------------------------------------------------------------------------

let lastStability = null;

async function drawStability(data) {
  lastStability = data;
  await whenPlotly();
  if (lastStability !== data) return;
  const { steps, low, median, high } = cohort.stability;
  if (!steps.length) return;
  const x = steps.map((_, i) => i + 1);
  const hover = { hovertemplate: "%{y:.1%}<extra></extra>" };
  const traces = median.length ? [
    { x, y: low, mode: "lines", line: { width: 0 }, hoverinfo: "skip" },
    { x, y: high, mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: "rgba(138,143,152,0.28)", hoverinfo: "skip" },
    { x, y: median, mode: "lines", line: { color: pageColour("--muted"), dash: "dash", width: 1.5 }, ...hover },
  ] : [];
  traces.push({ x, y: data.moved, mode: "lines+markers", line: { color: pageColour("--accent"), width: 2 }, marker: { size: steps.length > 30 ? 4 : 7 }, ...hover });
  const axis = { zeroline: false, gridcolor: pageColour("--line"), linecolor: pageColour("--muted"), fixedrange: true };
  const every = Math.ceil(steps.length / 12);
  const ticks = x.filter((_, i) => i % every === 0 || i === x.length - 1);
  Plotly.react("stability", traces, plotLayout({
    margin: { l: 52, r: 10, t: 8, b: 42 }, dragmode: false, hovermode: "x",
    xaxis: { ...axis, title: { text: "iteration, against the one before" }, tickvals: ticks, ticktext: ticks.map((i) => steps[i - 1]) },
    yaxis: { ...axis, title: { text: "regions that moved" }, tickformat: ".0%", range: [0, 1.08 * Math.max(0.05, ...data.moved, ...high)] },
  }), { ...PLOT_CONFIG, scrollZoom: false });
  const rows = steps.map((step, i) => [step, percent(data.moved[i]), decimals(data.rand[i]), percent(median[i])]);
  byId("stability-table").tBodies[0].replaceChildren(...rows.map(([step, ...cells]) => element("tr", {}, element("th", { scope: "row" }, step), ...cells.map((cell) => element("td", { class: "number" }, cell)))));
}

document.addEventListener("themechange", () => { if (lastStability) drawStability(lastStability); });

// ---- the map of all prototypes ----------------------------------------------------------------------------------

function showPoint(i) {
  map.ringed = [i];
  map.draw();
  previewPrototype(points.slide[i], points.prototype[i], i);
}

async function previewPrototype(slide, k, i) {
  const place = byId("preview");
  const data = await slideData(cohort, slide, place);
  if (!data || map.chosen !== i) return;
  const facts = [["slide", cohort.slides[slide]], ["regions", `${points.regions[i]}, ${percent(data.share[k])} of the slide's`], ...cohort.columns.map((column) => [column.name, valueOf(column, slide) || "not given"])];
  const pictures = data.nearest[k].map((region) => pictureButton(cohort, slide, data, region, `prototype ${k + 1}, ${cohort.distance} ${decimals(data.distance[region])}`));
  place.replaceChildren(
    element("h3", {}, badge(k), ` Prototype ${k + 1} of ${cohort.slides[slide]}`),
    element("dl", { class: "rows" }, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    element("p", { class: "note" }, "Its nearest regions, nearest first:"),
    element("div", { class: "pictures" }, ...pictures),
    element("p", {}, element("button", { type: "button", onclick: () => { slides.take(slide); chosenPrototype = k; byId("slide").scrollIntoView(); } }, "Show the slide")),
  );
}

function describePoint(i) {
  return [cohort.slides[points.slide[i]], `prototype ${points.prototype[i] + 1}, ${points.regions[i]} regions`, ...cohort.columns.slice(0, 4).map((column) => `${column.name}: ${valueOf(column, points.slide[i]) || "not given"}`)];
}

/** The chosen slide's prototypes in their colours, all others grey. */
function groupsOfChosenSlide() {
  const own = pointsOfSlide.get(chosenSlide) ?? [];
  const members = new Set(own);
  const groups = own.map((i) => {
    const k = points.prototype[i];
    return { label: `${cohort.slides[chosenSlide]}, prototype ${k + 1}`, colour: seriesColour(k), symbol: SYMBOLS[k % SYMBOLS.length], glyph: GLYPHS[k % GLYPHS.length], members: [i], grow: 2 };
  });
  groups.push({ label: "other slides", colour: OTHER, symbol: "circle", glyph: "●", members: points.slide.map((_, i) => i).filter((i) => !members.has(i)) });
  return groups;
}

const map = new ScatterMap(byId("map"), {
  x: points.x, y: points.y, describe: describePoint, pick: showPoint, fileName: "prototypes",
  label: "Map of all prototypes; arrow keys move to the nearest prototype in that direction",
});
const colours = new ColourControls({
  select: byId("map-colour"), only: byId("map-only"), legend: byId("map-legend"), map, columns: cohort.columns, slideOf: (i) => points.slide[i],
  extras: [
    { name: "slide (the chosen one)", groups: groupsOfChosenSlide },
    { name: "share of the slide's regions", numbers: () => points.regions.map((count, i) => count / cohort.regions[points.slide[i]]) },
  ],
});
byId("map-save").addEventListener("click", () => map.save());

const slides = chooser(byId("choose"), "Slide", cohort.slides, (slide) => {
  showSlide(slide);
  map.ringed = pointsOfSlide.get(slide) ?? [];
  colours.apply();
});

// ---- start ------------------------------------------------------------------------------------------------------

const asked = cohort.slides.indexOf(hashValues().get("slide"));
const first = asked >= 0 ? asked : Math.max(cohort.kept.indexOf(true), 0);
slides.show(first);
map.ringed = pointsOfSlide.get(first) ?? [];
showSlide(first).then(async () => {
  performance.mark("usable"); // for benchmarks: slides can be chosen, their regions are seen
  map.chosen = pointsOfSlide.get(first)?.[0] ?? -1;
  if (map.chosen >= 0) previewPrototype(first, points.prototype[map.chosen], map.chosen);
  await colours.apply();
  performance.mark("ready"); // the map is drawn too
  document.documentElement.dataset.ready = "yes"; // for tests
});
