// Attention: the weights of a head over a slide's regions, and what the region encoder looks at in the heaviest ones.
"use strict";

const cohort = pageData("cohort");
const WEIGHTS = `${cohort.task}/${cohort.head}`;

let chosenCase = -1;
let shown = null; // {slide, data, weights}

function caseName(number) {
  const { fold, slides } = cohort.cases[number];
  return `${slides.map((slide) => cohort.slides[slide]).join(" + ")} · fold ${fold}`;
}

// ---- the chosen case --------------------------------------------------------------------------------------------

async function showCase(number, slide = cohort.cases[number].slides[0]) {
  chosenCase = number;
  const about = cohort.cases[number];
  keepInHash({ slide: cohort.slides[slide], fold: about.fold });
  document.querySelectorAll("tr[data-case]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.case) === number));
  byId("case-title").textContent = caseName(number);
  byId("case-facts").replaceChildren(...caseFacts(about, slide).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  showSlidesOfCase(number, slide);
  const data = await slideData(cohort, slide, byId("case-picture"));
  if (!data || number !== chosenCase) return;
  const weights = data.weights[WEIGHTS]?.[about.fold];
  if (!weights) {
    byId("case-picture").replaceChildren(element("p", { class: "warn", role: "alert" }, "No weights are stored for this slide in this fold."));
    return;
  }
  shown = { slide, data, weights };
  drawWeights();
  drawTops();
}

function caseFacts(about, slide) {
  const facts = cohort.survival
    ? [["time and event", about.label], ["predicted risk", about.predicted]]
    : [["true class", about.label], ["predicted", about.predicted], ["probability of the true class", decimals(about.score)]];
  return [...facts, ["fold", about.fold], ...cohort.columns.map((column) => [column.name, valueOf(column, slide) || "not given"])];
}

function showSlidesOfCase(number, slide) {
  const slides = cohort.cases[number].slides;
  byId("case-slides").hidden = slides.length < 2;
  byId("case-slides").replaceChildren(...slides.map((other) => element("button", { type: "button", "aria-pressed": String(other === slide), onclick: () => showCase(number, other) }, cohort.slides[other])));
}

/** Weights as multiples of equal parts, so that slides of different size compare: 1 is what every region would have. */
function relative(weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0) || 1;
  return weights.map((weight) => (weight / total) * weights.length);
}

function ordered(weights) {
  return weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a] || a - b);
}

/** Small values leave the tissue to be seen. */
function faded(opacity, share) {
  return opacity * (0.3 + 0.7 * share);
}

function drawWeights() {
  const { slide, data, weights } = shown;
  const times = relative(weights);
  const largest = Math.max(...times, 1e-9);
  const opacity = Number(byId("opacity").value) / 100;
  const rank = new Map(ordered(weights).slice(0, cohort.top).map((region, k) => [region, k + 1]));
  const paint = (i) => ({ fill: cssColour(scaleColour(times[i] / largest)), opacity: faded(opacity, times[i] / largest), text: rank.has(i) ? String(rank.get(i)) : "" });
  const pick = (i) => [pictureButton(cohort, slide, data, i, weightText(weights[i], times[i])), `Region ${i}: ${weightText(weights[i], times[i])}`];
  const map = slideMap(cohort, slide, data, { paint, pick, label: `${cohort.slides[slide]}: weights of ${data.x.length} regions; the heaviest are numbered; arrow keys move` });
  byId("case-picture").replaceChildren(map.node);
  byId("case-legend").replaceChildren(scaleLegend("weight, in multiples of an equal part", 0, largest, "×"));
}

function weightText(weight, times) {
  return `weight ${percent(weight)}, ${times.toPrecision(2)} × an equal part`;
}

// ---- the heaviest regions ---------------------------------------------------------------------------------------

function drawTops() {
  const { slide, data, weights } = shown;
  const times = relative(weights);
  const tops = ordered(weights).slice(0, cohort.top);
  byId("tops").replaceChildren(...tops.map((region, rank) => topRegion(slide, data, region, rank, weightText(weights[region], times[region]))));
  drawHeads(tops[0]);
}

function decoded(data, region) {
  const found = data.patches?.regions[region];
  if (!found) return null;
  const bytes = Uint8Array.from(atob(found.bytes), (character) => character.charCodeAt(0));
  const { heads, grid } = data.patches;
  const values = Array.from({ length: heads }, (_, h) => Array.from(bytes.subarray(h * grid * grid, (h + 1) * grid * grid), (byte) => found.low[h] + (byte / 255) * (found.high[h] - found.low[h])));
  const mean = values[0].map((_, p) => values.reduce((sum, head) => sum + head[p], 0) / heads);
  return { grid, maps: [mean, ...values] };
}

function mapName(which) {
  return which === 0 ? "mean of heads" : `head ${which}`;
}

/** A region with the attention over its patches on it; `which`: 0 the mean, then the heads. */
function withAttention(slide, data, region, attention, which, about) {
  const { grid, maps } = attention;
  const canvas = element("canvas", { width: grid, height: grid, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(grid, grid);
  const [low, high] = extremes(maps[which]);
  const opacity = Number(byId("opacity").value) / 100;
  maps[which].forEach((value, p) => {
    const share = (value - low) / (high - low || 1);
    image.data.set([...scaleColour(share), Math.round(255 * faded(opacity, share))], 4 * p);
  });
  context.putImageData(image, 0, 0);
  return element("div", { class: "over" }, regionPicture(cohort, slide, data, region, `region ${region}, ${about}`), canvas);
}

function extremes(values) {
  return [Math.min(...values), Math.max(...values)];
}

function rangeText({ maps }, which) {
  const [low, high] = extremes(maps[which]).map((value) => (value * maps[which].length).toPrecision(2));
  return `${low} to ${high} × an equal part`;
}

function topRegion(slide, data, region, rank, about) {
  const which = Number(byId("head").value);
  const attention = decoded(data, region);
  const picture = attention ? withAttention(slide, data, region, attention, which, about) : regionPicture(cohort, slide, data, region, about);
  const label = `Region ${region}`;
  return element(
    "li", {}, element("h4", {}, `${rank + 1}. ${label}`), picture,
    element("p", {}, about), attention ? element("p", {}, `patches: ${rangeText(attention, which)}`) : null,
    element("p", {}, element("button", { type: "button", onclick: () => drawHeads(region) }, "All heads")),
  );
}

function drawHeads(region) {
  const { slide, data } = shown;
  const attention = decoded(data, region);
  byId("heads-title").textContent = `All heads in region ${region}`;
  if (!attention) {
    byId("heads").replaceChildren(element("p", { class: "note" }, "No attention over patches is stored for this region."));
    return;
  }
  const plain = element("figure", {}, regionPicture(cohort, slide, data, region, `region ${region}`), element("figcaption", {}, "region"));
  const maps = attention.maps.map((_, which) => element("figure", {}, withAttention(slide, data, region, attention, which, mapName(which)), element("figcaption", {}, `${mapName(which)}: ${rangeText(attention, which)}`)));
  byId("heads").replaceChildren(plain, ...maps);
}

// ---- controls and start -----------------------------------------------------------------------------------------

function caseTable(id, numbers) {
  byId(id).tBodies[0].replaceChildren(...numbers.map((number) => {
    const { label, predicted, score } = cohort.cases[number];
    const cells = cohort.survival ? [label, predicted] : [label, predicted, decimals(score)];
    return element(
      "tr", { "data-case": number },
      element("th", { scope: "row" }, element("button", { type: "button", onclick: () => cases.take(number) }, caseName(number))),
      ...cells.map((cell, k) => element("td", { class: k === cells.length - 1 ? "number" : null }, cell)),
    );
  }));
}

byId("head").replaceChildren(...Array.from({ length: cohort.heads + 1 }, (_, which) => element("option", { value: which }, mapName(which))));
byId("head").addEventListener("change", () => { if (shown) drawTops(); });
byId("opacity").addEventListener("input", () => { if (shown) { drawWeights(); drawTops(); } });
const cases = chooser(byId("choose"), "Test case", cohort.cases.map((_, number) => caseName(number)), (number) => showCase(number));
caseTable("best", cohort.best);
caseTable("worst", cohort.worst);

const asked = cohort.cases.findIndex(({ fold, slides }) => String(fold) === hashValues().get("fold") && slides.some((slide) => cohort.slides[slide] === hashValues().get("slide")));
const first = asked >= 0 ? asked : cohort.best[0] ?? 0;
if (cohort.cases.length) {
  cases.show(first);
  showCase(first).then(() => {
    document.documentElement.dataset.ready = "yes"; // for tests and benchmarks
    performance.mark("ready");
  });
}
