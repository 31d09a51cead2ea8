// Slide graph browser: the map of slides, a slide's neighbours, their matched prototypes side by side.
"use strict";

const cohort = pageData("cohort");
const PAIR_PICTURES = 3; // per prototype and side
const MAX_CHIPS = 24;

const chosenBy = cohort.slides.map(() => []); // slide -> slides that have it as neighbour
cohort.neighbours.forEach((row, slide) => row.forEach((other) => { if (other >= 0) chosenBy[other].push(slide); }));
const allEdges = cohort.neighbours.flatMap((row, slide) => row.filter((other) => other >= 0).map((other) => [slide, other]));

let chosenSlide = -1;

function neighboursOf(slide) {
  return cohort.neighbours[slide].map((other, rank) => ({ other, rank, distance: cohort.distance[slide][rank] })).filter(({ other }) => other >= 0);
}

// ---- the chosen slide -------------------------------------------------------------------------------------------

async function showSlide(slide) {
  chosenSlide = slide;
  keepInHash({ slide: cohort.slides[slide] });
  byId("slide-title").textContent = cohort.slides[slide];
  const facts = cohort.columns.flatMap((column) => [element("dt", {}, column.name), element("dd", {}, valueOf(column, slide) || "not given")]);
  byId("slide-facts").replaceChildren(...facts);
  const links = neighboursOf(slide);
  byId("neighbours").replaceChildren(...links.map((link) => element("li", {}, neighbourButton(slide, link))));
  byId("no-neighbours").hidden = links.length > 0;
  byId("no-neighbours").textContent = cohort.kept[slide] ? "No neighbours: no other slide has prototypes." : "Not in the graph: too few regions for prototypes (prototypes.min_regions).";
  showChosenBy(slide);
  if (links.length) await showPair(slide, links[0]);
  else byId("pair").hidden = true;
  markOnMap(slide);
}

function neighbourButton(slide, link) {
  const values = cohort.columns.flatMap((column, k) => {
    const [own, theirs] = [valueOf(column, slide), valueOf(column, link.other)];
    const same = own && own === theirs;
    return [k ? " · " : "", element("span", { class: same ? "same" : null }, `${column.name}: ${theirs || "not given"}${same ? " (same)" : ""}`)];
  });
  return element(
    "button", { type: "button", "aria-pressed": "false", "data-rank": link.rank, onclick: () => showPair(slide, link) },
    `${link.rank + 1}. ${cohort.slides[link.other]} — distance ${decimals(link.distance)}`, element("span", { class: "values" }, ...values),
  );
}

function showChosenBy(slide) {
  const chips = chosenBy[slide].slice(0, MAX_CHIPS).map((other) => element("button", { type: "button", onclick: () => slides.take(other) }, cohort.slides[other]));
  if (chosenBy[slide].length > MAX_CHIPS) chips.push(element("span", { class: "note" }, `and ${chosenBy[slide].length - MAX_CHIPS} more (CSV)`));
  byId("chosen-by-count").textContent = String(chosenBy[slide].length);
  byId("chosen-by").replaceChildren(...chips);
}

// ---- two slides side by side ------------------------------------------------------------------------------------

async function showPair(slide, link) {
  document.querySelectorAll("#neighbours button").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.rank) === link.rank)));
  const place = byId("pair-rows");
  const data = await slideData(cohort, slide, place);
  const theirs = await slideData(cohort, link.other, place);
  if (!data || !theirs || slide !== chosenSlide) return;
  byId("pair").hidden = false;
  byId("pair-left").textContent = cohort.slides[slide];
  byId("pair-right").textContent = cohort.slides[link.other];
  byId("pair-left-map").replaceChildren(prototypeMap(slide, data));
  byId("pair-right-map").replaceChildren(prototypeMap(link.other, theirs));
  const pairs = data.links[neighboursOf(slide).findIndex(({ rank }) => rank === link.rank)];
  const rows = pairs.map(([target, cosine], k) => ({ k, target, cosine })).sort((a, b) => b.cosine - a.cosine);
  place.replaceChildren(...rows.map(({ k, target, cosine }) => element(
    "tr", {},
    element("th", { scope: "row" }, prototypeCell(slide, data, k)),
    element("td", { class: "number" }, decimals(cosine)),
    element("td", {}, prototypeCell(link.other, theirs, target)),
  )));
}

function prototypeCell(slide, data, k) {
  const pictures = data.nearest[k].slice(0, PAIR_PICTURES).map((region) => pictureButton(cohort, slide, data, region, `prototype ${k + 1}`));
  return element(
    "div", {},
    badge(k), element("span", { class: "note" }, ` ${percent(data.share[k])} of regions`),
    element("div", { class: "pictures" }, ...pictures),
  );
}

function prototypeMap(slide, data) {
  const paint = (i) => ({ fill: seriesColour(data.assignment[i]), opacity: 0.5, text: data.x.length <= 400 && data.assignment[i] >= 0 ? String(data.assignment[i] + 1) : "" });
  const pick = (i) => [pictureButton(cohort, slide, data, i, `prototype ${data.assignment[i] + 1}`), `Region ${i}: prototype ${data.assignment[i] + 1}`];
  return slideMap(cohort, slide, data, { paint, pick, label: `${cohort.slides[slide]}: regions by prototype; arrow keys move` }).node;
}

// ---- the map of slides ------------------------------------------------------------------------------------------

function edgesToDraw() {
  const kind = byId("map-edges").value;
  if (kind === "none") return [];
  if (kind === "all") return allEdges;
  const out = neighboursOf(chosenSlide).map(({ other }) => [chosenSlide, other]);
  return [...out, ...chosenBy[chosenSlide].map((other) => [other, chosenSlide])];
}

function markOnMap(slide) {
  map.chosen = slide;
  map.ringed = [slide];
  map.edges = edgesToDraw();
  return map.draw();
}

function describeSlide(i) {
  const near = neighboursOf(i)[0];
  return [cohort.slides[i], ...cohort.columns.slice(0, 5).map((column) => `${column.name}: ${valueOf(column, i) || "not given"}`), near ? `nearest: ${cohort.slides[near.other]} (${decimals(near.distance)})` : "not in the graph"];
}

/** Whether a slide agrees with its nearest neighbour in the first column of categories, by group. */
const map = new ScatterMap(byId("map"), {
  x: cohort.x, y: cohort.y, describe: describeSlide, pick: (slide) => slides.take(slide), fileName: "slide-graph",
  label: "Map of slides; arrow keys move to the nearest slide in that direction",
});
const colours = new ColourControls({
  select: byId("map-colour"), only: byId("map-only"), legend: byId("map-legend"), map, columns: cohort.columns, slideOf: (i) => i,
  extras: [
    { name: "distance to the nearest slide", numbers: () => cohort.distance.map((row, i) => (cohort.neighbours[i][0] >= 0 ? row[0] : null)) },
    { name: "how many slides have it as neighbour", numbers: () => chosenBy.map((list) => list.length) },
  ],
});
byId("map-edges").addEventListener("change", () => { map.edges = edgesToDraw(); map.draw(); });
byId("map-save").addEventListener("click", () => map.save());
const slides = chooser(byId("choose"), "Slide", cohort.slides, showSlide);

// ---- start ------------------------------------------------------------------------------------------------------

const asked = cohort.slides.indexOf(hashValues().get("slide"));
const first = asked >= 0 ? asked : Math.max(cohort.kept.indexOf(true), 0);
slides.show(first);
showSlide(first).then(async () => {
  performance.mark("usable"); // for benchmarks: slides can be chosen, their regions are seen
  await colours.apply();
  performance.mark("ready"); // the map is drawn too
  document.documentElement.dataset.ready = "yes"; // for tests
});
