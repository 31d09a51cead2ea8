// Prototype atlas: the chosen slide with its prototypes, and the map of all prototypes.
"use strict";

const cohort = pageData("cohort");
const points = cohort.map;
const pointsOfSlide = new Map();
points.slide.forEach((slide, i) => pointsOfSlide.set(slide, [...(pointsOfSlide.get(slide) ?? []), i]));

let chosenSlide = -1;
let chosenPrototype = -1;

function inPrototype(k, distance) {
  return `prototype ${k + 1}, ${cohort.distance} ${decimals(distance)}`;
}

/** The regions nearest to a prototype, nearest first. */
function nearestPictures(slide, data, k) {
  return data.nearest[k].map((i) => pictureButton(cohort, slide, data, i, inPrototype(k, data.distance[i])));
}

// ---- the chosen slide -------------------------------------------------------------------------------------------

async function showSlide(slide) {
  chosenSlide = slide;
  chosenPrototype = -1;
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
  byId("slide-facts").replaceChildren(...slideFacts(slide, data));
  const few = `This slide has no prototypes: ${data.x.length} regions are fewer than prototypes.min_regions.`;
  const rows = cohort.kept[slide]
    ? data.nearest.map((_, k) => prototypeRow(slide, data, k))
    : [element("p", { class: "warn" }, few)];
  byId("slide-prototypes").replaceChildren(...rows);
  drawRegions(slide, data);
}

function drawRegions(slide, data) {
  const numbered = data.x.length <= MAX_NUMBERED;
  const isDim = (k) => chosenPrototype >= 0 && k !== chosenPrototype;
  const paint = (i) => {
    const k = data.assignment[i];
    const text = numbered && k >= 0 && !isDim(k) ? String(k + 1) : "";
    return { fill: seriesColour(k), opacity: isDim(k) ? 0.06 : 0.5, text };
  };
  const pick = (i) => regionFacts(slide, data, i);
  const what = `${data.x.length} regions, coloured and numbered by prototype; arrow keys move`;
  const label = `${cohort.slides[slide]}: ${what}`;
  byId("slide-picture").replaceChildren(slideMap(cohort, slide, data, { paint, pick, label }));
  document.querySelectorAll(".prototype").forEach((row, k) => {
    row.classList.toggle("dim", isDim(k));
    row.querySelector("button.mark").setAttribute("aria-pressed", String(k === chosenPrototype));
  });
}

function regionFacts(slide, data, i) {
  const k = data.assignment[i];
  const about = k < 0 ? "no prototype" : inPrototype(k, data.distance[i]);
  return [pictureButton(cohort, slide, data, i, about), `Region ${i}: ${about}`];
}

function slideFacts(slide, data) {
  const size = physicalSize(data);
  const regions = ["regions", `${data.x.length}${size ? `, each ${size}` : ""}`];
  const list = element("dl", { class: "rows" }, ...definitions([...columnFacts(cohort, slide), regions]));
  if (!data.geojson) return [list];
  const link = element("a", { href: data.geojson, download: true }, "GeoJSON for QuPath");
  const what = " regions with prototype, distance and the weights of all heads";
  return [list, element("p", { class: "note" }, link, what)];
}

function prototypeRow(slide, data, k) {
  const choose = () => {
    chosenPrototype = chosenPrototype === k ? -1 : k;
    drawRegions(slide, data);
  };
  const title = "show only its regions on the slide";
  const attributes = { class: "key mark", "aria-pressed": "false", title };
  const mark = button(choose, attributes, badge(k), ` Prototype ${k + 1}`);
  const length = element("i", { style: `width: ${100 * data.share[k]}%; background: ${seriesColour(k)}` });
  const bar = element("span", { class: "bar", "aria-hidden": "true" }, length);
  const kinds = data.kinds.length ? `; known kinds: ${data.kinds[k]}` : "";
  const share = element("span", { class: "share" }, `${percent(data.share[k])} of tissue regions${kinds}`, bar);
  const pictures = nearestPictures(slide, data, k);
  if (!pictures.length) pictures.push(element("span", { class: "note" }, "no region is assigned to it"));
  return element(
    "div",
    { class: "prototype" },
    element("h3", {}, mark, share),
    element("div", { class: "pictures" }, ...pictures),
  );
}

// ---- stability --------------------------------------------------------------------------------------------------

let lastStability = null;

async function drawStability(data) {
  lastStability = data;
  await whenPlotly();
  if (lastStability !== data || !cohort.stability.steps.length) return;
  Plotly.react("stability", stabilityTraces(data), stabilityLayout(data), { ...PLOT_CONFIG, scrollZoom: false });
  const { steps, mean } = cohort.stability;
  const cells = (i) => [percent(data.moved[i]), decimals(data.rand[i]), percent(mean[i])];
  byId("stability-table").tBodies[0].replaceChildren(
    ...steps.map((step, i) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, step),
        ...cells(i).map((cell) => element("td", { class: "number" }, cell)),
      ),
    ),
  );
}

function stabilityTraces(data) {
  const { steps, low, mean, high } = cohort.stability;
  const x = steps.map((_, i) => i + 1);
  const hovertemplate = "%{y:.1%}<extra></extra>";
  const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
  const dashed = { color: pageColour("--muted"), dash: "dash", width: 1.5 };
  const solid = { color: pageColour("--accent"), width: 2 };
  const all = [
    { ...edge, y: low },
    { ...edge, y: high, fill: "tonexty", fillcolor: "rgba(138,143,152,0.28)" },
    { x, y: mean, mode: "lines", line: dashed, hovertemplate },
  ];
  const marker = { size: steps.length > 30 ? 4 : 7 };
  const own = { x, y: data.moved, mode: "lines+markers", line: solid, marker, hovertemplate };
  return mean.length ? [...all, own] : [own];
}

function stabilityLayout(data) {
  const { steps, high } = cohort.stability;
  const axis = { zeroline: false, gridcolor: pageColour("--line"), linecolor: pageColour("--muted"), fixedrange: true };
  const every = Math.ceil(steps.length / 12);
  const shown = steps.map((_, i) => i).filter((i) => i % every === 0 || i === steps.length - 1);
  const ticks = { tickvals: shown.map((i) => i + 1), ticktext: shown.map((i) => steps[i]) };
  const range = [0, 1.08 * Math.max(0.05, ...data.moved, ...high)];
  return plotLayout({
    margin: { l: 52, r: 10, t: 8, b: 42 },
    dragmode: false,
    hovermode: "x",
    xaxis: { ...axis, title: { text: "iteration, against the one before" }, ...ticks },
    yaxis: { ...axis, title: { text: "regions that moved" }, tickformat: ".0%", range },
  });
}

document.addEventListener("themechange", () => {
  if (lastStability) drawStability(lastStability);
});

// ---- the map of all prototypes ----------------------------------------------------------------------------------

function showPoint(i) {
  map.ringed = [i];
  map.draw();
  previewPrototype(i);
}

async function previewPrototype(i) {
  const [slide, k, place] = [points.slide[i], points.prototype[i], byId("preview")];
  const data = await slideData(cohort, slide, place);
  if (!data || map.chosen !== i) return;
  const regions = `${points.regions[i]}, ${percent(data.share[k])} of the slide's`;
  const facts = [["slide", cohort.slides[slide]], ["regions", regions], ...columnFacts(cohort, slide)];
  const showIt = () => {
    slides.take(slide);
    chosenPrototype = k;
    byId("slide").scrollIntoView();
  };
  place.replaceChildren(
    element("h3", {}, badge(k), ` Prototype ${k + 1} of ${cohort.slides[slide]}`),
    element("dl", { class: "rows" }, ...definitions(facts)),
    element("p", { class: "note" }, "Its nearest regions, nearest first:"),
    element("div", { class: "pictures" }, ...nearestPictures(slide, data, k)),
    element("p", {}, button(showIt, {}, "Show the slide")),
  );
}

function describePoint(i) {
  const facts = columnFacts(cohort, points.slide[i])
    .slice(0, 4)
    .map(([name, value]) => `${name}: ${value}`);
  const about = `prototype ${points.prototype[i] + 1}, ${points.regions[i]} regions`;
  return [cohort.slides[points.slide[i]], about, ...facts];
}

/** The chosen slide's prototypes in their colours, all others grey. */
function groupsOfChosenSlide() {
  const ofSlide = pointsOfSlide.get(chosenSlide) ?? [];
  const groups = ofSlide.map((i) => {
    const k = points.prototype[i];
    const [symbol, glyph] = [SYMBOLS[k % SYMBOLS.length], GLYPHS[k % GLYPHS.length]];
    const label = `${cohort.slides[chosenSlide]}, prototype ${k + 1}`;
    return { label, colour: seriesColour(k), symbol, glyph, members: [i], grow: 2 };
  });
  const members = points.slide.map((_, i) => i).filter((i) => points.slide[i] !== chosenSlide);
  return [...groups, { label: "other slides", colour: OTHER, symbol: "circle", glyph: "●", members }];
}

const map = new ScatterMap(byId("map"), {
  x: points.x,
  y: points.y,
  describe: describePoint,
  pick: showPoint,
  fileName: "prototypes",
  label: "Map of all prototypes; arrow keys move to the nearest prototype in that direction",
});
const shareOfSlide = () => points.regions.map((count, i) => count / cohort.regions[points.slide[i]]);
const colours = new ColourControls({
  map,
  columns: cohort.columns,
  slideOf: (i) => points.slide[i],
  extras: [
    { name: "slide (the chosen one)", groups: groupsOfChosenSlide },
    { name: "share of the slide's regions", numbers: shareOfSlide },
  ],
});
byId("map-save").addEventListener("click", () => map.save());

const slides = chooser(byId("choose"), "Slide", cohort.slides, (slide) => {
  showSlide(slide);
  map.ringed = pointsOfSlide.get(slide) ?? [];
  colours.apply();
});

// ---- start ------------------------------------------------------------------------------------------------------

const first = firstSlide(cohort);
slides.show(first);
map.ringed = pointsOfSlide.get(first) ?? [];
showSlide(first).then(async () => {
  performance.mark("usable"); // for benchmarks: slides can be chosen, their regions are seen
  map.chosen = pointsOfSlide.get(first)?.[0] ?? -1;
  if (map.chosen >= 0) previewPrototype(map.chosen);
  await colours.apply();
  performance.mark("ready"); // the map is drawn too
  document.documentElement.dataset.ready = "yes"; // for tests
});
