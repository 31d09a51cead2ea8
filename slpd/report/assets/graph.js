// Slide graph browser: the map of slides, a slide's neighbours, their matched prototypes side by side.
"use strict";

const cohort = pageData("cohort");
const PAIR_PICTURES = 3; // per prototype and side
const MAX_CHIPS = 24;

const allEdges = cohort.neighbours.flatMap((row, slide) =>
  row.filter((other) => other >= 0).map((other) => [slide, other]),
);
const chosenBy = cohort.slides.map(() => []); // slide -> slides that have it as neighbour
allEdges.forEach(([slide, other]) => chosenBy[other].push(slide));

let chosenSlide = -1;

function neighboursOf(slide) {
  const distance = cohort.distance[slide];
  const links = cohort.neighbours[slide].map((other, rank) => ({ other, rank, distance: distance[rank] }));
  return links.filter(({ other }) => other >= 0);
}

// ---- the chosen slide -------------------------------------------------------------------------------------------

async function showSlide(slide) {
  chosenSlide = slide;
  keepInHash({ slide: cohort.slides[slide] });
  byId("slide-title").textContent = cohort.slides[slide];
  byId("slide-facts").replaceChildren(...definitions(columnFacts(cohort, slide)));
  const links = neighboursOf(slide);
  byId("neighbours").replaceChildren(...links.map((link) => element("li", {}, neighbourButton(slide, link))));
  byId("no-neighbours").hidden = links.length > 0;
  byId("no-neighbours").textContent = cohort.kept[slide]
    ? "No neighbours: no other slide has prototypes."
    : "Not in the graph: too few regions for prototypes (prototypes.min_regions).";
  showChosenBy(slide);
  if (links.length) await showPair(slide, links[0]);
  else byId("pair").hidden = true;
  markOnMap(slide);
}

function neighbourButton(slide, link) {
  const values = cohort.columns.flatMap((column, k) => {
    const theirs = valueOf(column, link.other);
    const same = theirs && theirs === valueOf(column, slide);
    const text = `${column.name}: ${theirs || "not given"}${same ? " (same)" : ""}`;
    return [k ? " · " : "", element("span", { class: same ? "same" : null }, text)];
  });
  return button(
    () => showPair(slide, link),
    { "aria-pressed": "false", "data-rank": link.rank },
    `${link.rank + 1}. ${cohort.slides[link.other]} — distance ${decimals(link.distance)}`,
    element("span", { class: "values" }, ...values),
  );
}

function showChosenBy(slide) {
  const others = chosenBy[slide];
  const chips = others.slice(0, MAX_CHIPS).map((other) => button(() => slides.take(other), {}, cohort.slides[other]));
  const more = `and ${others.length - MAX_CHIPS} more (CSV)`;
  if (others.length > MAX_CHIPS) chips.push(element("span", { class: "note" }, more));
  byId("chosen-by-count").textContent = String(others.length);
  byId("chosen-by").replaceChildren(...chips);
}

// ---- two slides side by side ------------------------------------------------------------------------------------

async function showPair(slide, link) {
  for (const neighbour of document.querySelectorAll("#neighbours button")) {
    neighbour.setAttribute("aria-pressed", String(Number(neighbour.dataset.rank) === link.rank));
  }
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
  place.replaceChildren(
    ...rows.map(({ k, target, cosine }) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, prototypeCell(slide, data, k)),
        element("td", { class: "number" }, decimals(cosine)),
        element("td", {}, prototypeCell(link.other, theirs, target)),
      ),
    ),
  );
}

function prototypeCell(slide, data, k) {
  const regions = data.nearest[k].slice(0, PAIR_PICTURES);
  const pictures = regions.map((region) => pictureButton(cohort, slide, data, region, `prototype ${k + 1}`));
  return element(
    "div",
    {},
    badge(k),
    element("span", { class: "note" }, ` ${percent(data.share[k])} of regions`),
    element("div", { class: "pictures" }, ...pictures),
  );
}

function prototypeMap(slide, data) {
  const numbered = data.x.length <= MAX_NUMBERED;
  const paint = (i) => {
    const k = data.assignment[i];
    return { fill: seriesColour(k), opacity: 0.5, text: numbered && k >= 0 ? String(k + 1) : "" };
  };
  const pick = (i) => {
    const about = `prototype ${data.assignment[i] + 1}`;
    return [pictureButton(cohort, slide, data, i, about), `Region ${i}: ${about}`];
  };
  const label = `${cohort.slides[slide]}: regions by prototype; arrow keys move`;
  return slideMap(cohort, slide, data, { paint, pick, label });
}

// ---- the map of slides ------------------------------------------------------------------------------------------

function edgesToDraw() {
  const kind = byId("map-edges").value;
  if (kind === "none") return [];
  if (kind === "all") return allEdges;
  return allEdges.filter((edge) => edge.includes(chosenSlide));
}

function markOnMap(slide) {
  map.chosen = slide;
  map.ringed = [slide];
  map.edges = edgesToDraw();
  return map.draw();
}

function describeSlide(i) {
  const near = neighboursOf(i)[0];
  const facts = columnFacts(cohort, i)
    .slice(0, 5)
    .map(([name, value]) => `${name}: ${value}`);
  const nearest = near ? `nearest: ${cohort.slides[near.other]} (${decimals(near.distance)})` : "not in the graph";
  return [cohort.slides[i], ...facts, nearest];
}

const map = new ScatterMap(byId("map"), {
  x: cohort.x,
  y: cohort.y,
  describe: describeSlide,
  pick: (slide) => slides.take(slide),
  fileName: "slide-graph",
  label: "Map of slides; arrow keys move to the nearest slide in that direction",
});
const distanceToNearest = () => cohort.distance.map((row, i) => (cohort.neighbours[i][0] >= 0 ? row[0] : null));
const colours = new ColourControls({
  map,
  columns: cohort.columns,
  slideOf: (i) => i,
  extras: [
    { name: "distance to the nearest slide", numbers: distanceToNearest },
    { name: "how many slides have it as neighbour", numbers: () => chosenBy.map((list) => list.length) },
  ],
});
byId("map-edges").addEventListener("change", () => {
  map.edges = edgesToDraw();
  map.draw();
});
byId("map-save").addEventListener("click", () => map.save());
const slides = chooser(byId("choose"), "Slide", cohort.slides, showSlide);

// ---- start ------------------------------------------------------------------------------------------------------

const first = firstSlide(cohort);
slides.show(first);
showSlide(first).then(async () => {
  performance.mark("usable"); // for benchmarks: slides can be chosen, their regions are seen
  await colours.apply();
  performance.mark("ready"); // the map is drawn too
  document.documentElement.dataset.ready = "yes"; // for tests
});
