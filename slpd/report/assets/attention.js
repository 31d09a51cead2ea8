// Attention: the weights of a head over a slide's regions, and what the region encoder looks at in the heaviest ones.
"use strict";

const cohort = pageData("cohort");
const WEIGHTS = `${cohort.task}/${cohort.head}`;

let chosenCase = -1;
let shown = null; // {slide, data, weights, times}

function caseName(number) {
  const { fold, slides } = cohort.cases[number];
  return `${slides.map((slide) => cohort.slides[slide]).join(" + ")} · fold ${fold}`;
}

// ---- the chosen case --------------------------------------------------------------------------------------------

async function showCase(number, slide = cohort.cases[number].slides[0]) {
  chosenCase = number;
  const about = cohort.cases[number];
  keepInHash({ slide: cohort.slides[slide], fold: about.fold });
  for (const row of document.querySelectorAll("tr[data-case]")) {
    row.classList.toggle("chosen", Number(row.dataset.case) === number);
  }
  byId("case-title").textContent = caseName(number);
  byId("case-facts").replaceChildren(...definitions(caseFacts(about, slide)));
  showSlidesOfCase(number, slide);
  const data = await slideData(cohort, slide, byId("case-picture"));
  if (!data || number !== chosenCase) return;
  const weights = data.weights[WEIGHTS]?.[about.fold];
  if (!weights) {
    const text = "No weights are stored for this slide in this fold.";
    byId("case-picture").replaceChildren(element("p", { class: "warn", role: "alert" }, text));
    return;
  }
  shown = { slide, data, weights, times: relative(weights) };
  drawWeights();
  drawTops();
}

function caseFacts({ label, predicted, score, fold }, slide) {
  const { words } = cohort;
  const facts = [
    [words.label, label],
    [words.predicted, predicted],
    ...(words.score ? [[words.score, decimals(score)]] : []),
  ];
  return [...facts, ["fold", fold], ...columnFacts(cohort, slide)];
}

function showSlidesOfCase(number, slide) {
  const { slides } = cohort.cases[number];
  byId("case-slides").hidden = slides.length < 2;
  byId("case-slides").replaceChildren(
    ...slides.map((other) =>
      button(() => showCase(number, other), { "aria-pressed": String(other === slide) }, cohort.slides[other]),
    ),
  );
}

/** Weights as multiples of equal parts, so that slides of different size compare: 1 is what every region would have. */
function relative(weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0) || 1;
  return weights.map((weight) => (weight / total) * weights.length);
}

/** The heaviest regions, heaviest first. */
function heaviest(weights) {
  const order = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a] || a - b);
  return order.slice(0, cohort.top);
}

/** Small values leave the tissue to be seen. */
function faded(share) {
  return (Number(byId("opacity").value) / 100) * (0.3 + 0.7 * share);
}

function drawWeights() {
  const { slide, data, weights, times } = shown;
  const largest = Math.max(...times, 1e-9);
  const rank = new Map(heaviest(weights).map((region, k) => [region, String(k + 1)]));
  const paint = (i) => {
    const share = times[i] / largest;
    return { fill: cssColour(scaleColour(share)), opacity: faded(share), text: rank.get(i) };
  };
  const pick = (i) => [pictureButton(cohort, slide, data, i, weightText(i)), `Region ${i}: ${weightText(i)}`];
  const what = `weights of ${data.x.length} regions; the heaviest are numbered; arrow keys move`;
  const label = `${cohort.slides[slide]}: ${what}`;
  byId("case-picture").replaceChildren(slideMap(cohort, slide, data, { paint, pick, label }));
  byId("case-legend").replaceChildren(scaleLegend("weight, in multiples of an equal part", 0, largest, "×"));
}

function weightText(region) {
  return `weight ${percent(shown.weights[region])}, ${shown.times[region].toPrecision(2)} × an equal part`;
}

// ---- the heaviest regions ---------------------------------------------------------------------------------------

function drawTops() {
  const tops = heaviest(shown.weights);
  byId("tops").replaceChildren(...tops.map(topRegion));
  drawHeads(tops[0]);
}

/** The attention over the patches of a region: the mean of all heads, then each; NaN: absent; null: not stored. */
function attentionMaps(region) {
  const stored = shown.data.patches?.regions[region];
  if (!stored) return null;
  const { heads, grid } = shown.data.patches;
  const bytes = Uint8Array.from(atob(stored.bytes), (character) => character.charCodeAt(0));
  const ofHead = (h) => {
    const [low, high] = [stored.low[h], stored.high[h]];
    const levels = bytes.subarray(h * grid ** 2, (h + 1) * grid ** 2);
    return Array.from(levels, (level) => low + (level / 255) * (high - low));
  };
  const values = Array.from({ length: heads }, (_, h) => ofHead(h));
  for (const head of values) {
    for (const patch of stored.absent) head[patch] = NaN;
  }
  const mean = values[0].map((_, p) => values.reduce((sum, head) => sum + head[p], 0) / heads);
  return [mean, ...values];
}

function mapName(which) {
  return which === 0 ? "mean of heads" : `head ${which}`;
}

/** A region with the attention over its patches on it. */
function withAttention(region, attention, about) {
  const { slide, data } = shown;
  const { grid } = data.patches;
  const canvas = element("canvas", { width: grid, height: grid, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(grid, grid);
  const [low, high] = extremes(attention);
  attention.forEach((value, p) => {
    if (Number.isNaN(value)) return; // transparent
    const share = (value - low) / (high - low || 1);
    image.data.set([...scaleColour(share), Math.round(255 * faded(share))], 4 * p);
  });
  context.putImageData(image, 0, 0);
  const picture = regionPicture(cohort, slide, data, region, `region ${region}, ${about}`);
  return element("div", { class: "over" }, picture, canvas);
}

function present(values) {
  return values.filter((value) => !Number.isNaN(value));
}

function extremes(values) {
  return [Math.min(...present(values)), Math.max(...present(values))];
}

function rangeText(attention) {
  const { length } = present(attention);
  const [low, high] = extremes(attention).map((value) => (value * length).toPrecision(2));
  return `${low} to ${high} × an equal part`;
}

function topRegion(region, rank) {
  const about = weightText(region);
  const attention = attentionMaps(region)?.[Number(byId("head").value)];
  const picture = attention
    ? withAttention(region, attention, about)
    : regionPicture(cohort, shown.slide, shown.data, region, about);
  return element(
    "li",
    {},
    element("h4", {}, `${rank + 1}. Region ${region}`),
    picture,
    element("p", {}, about),
    attention ? element("p", {}, `patches: ${rangeText(attention)}`) : null,
    element(
      "p",
      {},
      button(() => drawHeads(region), {}, "All heads"),
    ),
  );
}

function drawHeads(region) {
  const maps = attentionMaps(region);
  byId("heads-title").textContent = `All heads in region ${region}`;
  if (!maps) {
    const text = "No attention over patches is stored for this region.";
    byId("heads").replaceChildren(element("p", { class: "note" }, text));
    return;
  }
  const figure = (picture, text) => element("figure", {}, picture, element("figcaption", {}, text));
  const plain = regionPicture(cohort, shown.slide, shown.data, region, `region ${region}`);
  const figures = maps.map((attention, which) =>
    figure(withAttention(region, attention, mapName(which)), `${mapName(which)}: ${rangeText(attention)}`),
  );
  byId("heads").replaceChildren(figure(plain, "region"), ...figures);
}

// ---- controls and start -----------------------------------------------------------------------------------------

function caseTable(id, numbers) {
  byId(id).tBodies[0].replaceChildren(
    ...numbers.map((number) => {
      const { label, predicted, score } = cohort.cases[number];
      const cells = cohort.words.score ? [label, predicted, decimals(score)] : [label, predicted];
      const name = button(() => cases.take(number), {}, caseName(number));
      return element(
        "tr",
        { "data-case": number },
        element("th", { scope: "row" }, name),
        ...cells.map((cell, k) => element("td", { class: k === cells.length - 1 ? "number" : null }, cell)),
      );
    }),
  );
}

/** The case that a page begins with: that of its address, else the best one. */
function firstCase() {
  const [fold, name] = [hashValues().get("fold"), hashValues().get("slide")];
  const asked = cohort.cases.findIndex(
    (one) => String(one.fold) === fold && one.slides.some((slide) => cohort.slides[slide] === name),
  );
  return asked >= 0 ? asked : cohort.best[0];
}

const mapOption = (which) => element("option", { value: which }, mapName(which));
byId("head").replaceChildren(...Array.from({ length: cohort.heads + 1 }, (_, which) => mapOption(which)));
byId("head").addEventListener("change", () => {
  if (shown) drawTops();
});
byId("opacity").addEventListener("input", () => {
  if (shown) {
    drawWeights();
    drawTops();
  }
});
const names = cohort.cases.map((_, number) => caseName(number));
const cases = chooser(byId("choose"), "Test case", names, (number) => showCase(number));
caseTable("best", cohort.best);
caseTable("worst", cohort.worst);

if (cohort.cases.length) {
  cases.show(firstCase());
  showCase(firstCase()).then(() => {
    document.documentElement.dataset.ready = "yes"; // for tests and benchmarks
    performance.mark("usable");
    performance.mark("ready");
  });
}
