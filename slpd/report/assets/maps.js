// What the pages of maps share: colours, slide and region pictures, the chooser of slides, the scatter plot.
"use strict";

// ---- colours: Okabe & Ito (2008); shapes and numbers say the same ---------------------------------------------------

const SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F3A"];
const OTHER = "#8C8C8C";
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "star", "hexagon"];
const GLYPHS = ["●", "■", "◆", "▲", "▼", "★", "⬢"];
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

function seriesColour(number) {
  return SERIES[number] ?? OTHER;
}

/** The number of a prototype on its colour, black or white, whichever contrasts more (WCAG 2.2: luminance 0.179). */
function badge(number) {
  const colour = seriesColour(number);
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  const text = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
  return element("span", { class: "badge", style: `background: ${colour}; color: ${text}` }, String(number + 1));
}

/** A colour of the scale cividis (Nuñez et al. 2018), for a number from 0 to 1. */
function scaleColour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const below = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const part = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
  const mix = (at) => part(CIVIDIS[below], at) * (below + 1 - place) + part(CIVIDIS[below + 1], at) * (place - below);
  return [mix(1), mix(3), mix(5)].map(Math.round);
}

function cssColour([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

function pageColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// ---- small things -----------------------------------------------------------------------------------------------

function byId(id) {
  return document.getElementById(id);
}

function svgElement(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

function decimals(number, places = 3) {
  return number === null || number === undefined ? "–" : number.toFixed(places).replace("-", "−");
}

/** The values of a slide in the columns that all pages colour by. */
function valueOf(column, slide) {
  if (column.numbers) return column.numbers[slide] === null ? "" : String(column.numbers[slide]);
  return column.categories[column.codes[slide]] ?? "";
}

function hashValues() {
  return new URLSearchParams(location.hash.slice(1));
}

/** Keep what is chosen in the address, so that it can be sent to somebody. */
function keepInHash(values) {
  const kept = hashValues();
  for (const [name, value] of Object.entries(values)) kept.set(name, value);
  history.replaceState(null, "", `#${kept}`);
}

function dataPath(cohort, slide) {
  return `data/${cohort.cohort}/${cohort.variant}/${cohort.numbers[slide]}.js`;
}

/** The data of a slide; what fails is said where they were to be shown. */
async function slideData(cohort, slide, place) {
  try {
    return await loadData(dataPath(cohort, slide));
  } catch (error) {
    place.replaceChildren(element("p", { class: "warn", role: "alert" }, `${cohort.slides[slide]}: ${error.message}. Is the folder of the report whole?`));
    return null;
  }
}

// ---- groups of slides by a column -------------------------------------------------------------------------------

/**
 * Slides in groups that can be told apart: the most frequent values, the rest as "other", those without a value.
 * `only`: one value against all others.
 */
function groupsOf(column, n, only = "") {
  const label = (i) => column.categories[column.codes[i]] ?? null;
  const names = only ? [only] : column.categories.slice(0, column.categories.length > SERIES.length ? SERIES.length - 1 : SERIES.length);
  const groups = names.map((name, k) => ({ label: name, colour: SERIES[k], symbol: SYMBOLS[k], glyph: GLYPHS[k], members: [] }));
  const rest = column.categories.length - names.length;
  const other = { label: only ? "all others" : `other (${rest} values)`, colour: OTHER, symbol: "circle", glyph: "●", members: [] };
  const missing = { label: "not given", colour: OTHER, symbol: "circle-open", glyph: "○", members: [] };
  const place = new Map(names.map((name, k) => [name, k]));
  for (let i = 0; i < n; i++) {
    const name = label(i);
    if (name === null) missing.members.push(i);
    else (groups[place.get(name)] ?? other).members.push(i);
  }
  return [...groups, other, missing].filter((group) => group.members.length);
}

// ---- pictures ---------------------------------------------------------------------------------------------------

/** The picture of a region, cut out of its slide's sheet; a frame with a word where there is none. */
function regionPicture(cohort, slide, data, region, label) {
  const place = data.place[region];
  if (!data.nPictures || place < 0) {
    return element("span", { class: "picture none", role: "img", "aria-label": `${label}: no picture` }, `region ${region}`);
  }
  const px = cohort.picturePx;
  const columns = Math.ceil(Math.sqrt(data.nPictures));
  const rows = Math.ceil(data.nPictures / columns);
  const view = `${(place % columns) * px} ${Math.floor(place / columns) * px} ${px} ${px}`;
  const href = `regions/${cohort.cohort}/${cohort.numbers[slide]}.jpg`;
  return svgElement(
    "svg", { class: "picture", viewBox: view, role: "img", "aria-label": label },
    svgElement("image", { href, width: columns * px, height: rows * px, preserveAspectRatio: "none" }),
  );
}

function physicalSize(data) {
  return data.side && data.mpp ? `${Math.round(data.side * data.mpp)} µm wide` : "";
}

/** A picture that opens larger, with all that is known of the region. */
function pictureButton(cohort, slide, data, region, about) {
  const label = `region ${region} of ${cohort.slides[slide]}, ${about}`;
  return element(
    "button", { type: "button", class: "picture-button", title: about, onclick: () => enlarge(cohort, slide, data, region, about) },
    regionPicture(cohort, slide, data, region, label),
  );
}

function enlarge(cohort, slide, data, region, about) {
  const corner = data.x[region] >= 0 ? `upper left corner x ${data.x[region]}, y ${data.y[region]} (level-0 px)` : "place not known";
  const facts = [`Region ${region}`, about, corner, physicalSize(data)].filter(Boolean).join(" · ");
  const dialog = element(
    "dialog", { class: "enlarged", "aria-label": `Region ${region} of ${cohort.slides[slide]}` },
    element("h3", {}, cohort.slides[slide]),
    regionPicture(cohort, slide, data, region, `region ${region}`),
    element("p", { class: "note" }, facts),
    element("form", { method: "dialog" }, element("button", {}, "Close")),
  );
  dialog.querySelector("button").addEventListener("click", (event) => { event.preventDefault(); dialog.close(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Corners and side of a slide's regions: on the slide, or in a plain grid where the places are not known. */
function regionGrid(data) {
  const n = data.x.length;
  if (data.side && data.x.every((x) => x >= 0)) {
    const width = data.width ?? Math.max(...data.x) + data.side;
    const height = data.height ?? Math.max(...data.y) + data.side;
    return { x: data.x, y: data.y, side: data.side, width, height, known: true };
  }
  const columns = Math.ceil(Math.sqrt(n)) || 1;
  const x = data.x.map((_, i) => i % columns);
  const y = data.x.map((_, i) => Math.floor(i / columns));
  return { x, y, side: 1, width: columns, height: Math.ceil(n / columns) || 1, known: false };
}

/**
 * A slide's thumbnail with its regions on it, walked with the arrow keys.
 *
 * paint(region): {fill, opacity, text}; text is written on the region. pick(region): a region was chosen.
 */
function slideMap(cohort, slide, data, { paint, pick, label }) {
  const grid = regionGrid(data);
  const stroke = Math.max(grid.width, grid.height) / 700;
  const shapes = grid.x.map((x, i) => {
    const { fill, opacity, text } = paint(i);
    const group = svgElement("g", { class: "region", "data-region": i, onclick: () => choose(i) });
    group.append(svgElement("rect", { x, y: grid.y[i], width: grid.side, height: grid.side, fill, "fill-opacity": opacity, stroke: fill, "stroke-width": stroke }));
    if (text) {
      const size = grid.side * 0.42;
      group.append(svgElement("text", { x: x + grid.side / 2, y: grid.y[i] + grid.side / 2 + size * 0.35, "font-size": size, "text-anchor": "middle" }, text));
    }
    return group;
  });
  const cursor = svgElement("rect", { class: "cursor", width: grid.side, height: grid.side, "stroke-width": stroke * 3, visibility: "hidden" });
  const said = element("p", { class: "note readout", "aria-live": "polite" }, "Click a region, or move with the arrow keys.");
  const children = [...shapes, cursor];
  if (grid.known && data.width) {
    const href = `thumbnails/${cohort.cohort}/${cohort.numbers[slide]}.jpg`;
    children.unshift(svgElement("image", { href, width: grid.width, height: grid.height, preserveAspectRatio: "none" }));
  }
  const picture = svgElement("svg", { class: "slide-map", viewBox: `0 0 ${grid.width} ${grid.height}`, tabindex: 0, role: "img", "aria-label": label, style: `--ratio: ${(grid.width / grid.height).toFixed(4)}` }, ...children);
  let chosen = -1;
  function choose(region) {
    chosen = region;
    cursor.setAttribute("x", grid.x[region]);
    cursor.setAttribute("y", grid.y[region]);
    cursor.setAttribute("visibility", "visible");
    said.replaceChildren(...[pick(region)].flat());
  }
  picture.addEventListener("keydown", (event) => {
    const direction = DIRECTIONS[event.key];
    if (!direction || !grid.x.length) return;
    event.preventDefault();
    const next = chosen < 0 ? 0 : nearestInDirection(grid.x, grid.y, chosen, direction);
    if (next >= 0) choose(next);
  });
  return { node: element("div", { class: "slide-map-box" }, picture, said), choose };
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The nearest point within 45° of a direction; -1: none. y grows downwards. */
function nearestInDirection(x, y, from, [right, down], among = null) {
  let best = -1;
  let distance = Infinity;
  for (let i = 0; i < x.length; i++) {
    if (i === from || (among && !among(i))) continue;
    const across = x[i] - x[from];
    const along = y[i] - y[from];
    const ahead = across * right + along * down;
    const aside = Math.abs(across * down) + Math.abs(along * right);
    if (ahead > 0 && aside <= ahead && ahead ** 2 + aside ** 2 < distance) {
      distance = ahead ** 2 + aside ** 2;
      best = i;
    }
  }
  return best;
}

// ---- choosing a slide -------------------------------------------------------------------------------------------

const SHOWN_MATCHES = 12;

/** A search field with a list (ARIA combobox) and buttons for the next and the last one. */
function chooser(place, label, names, choose) {
  const id = `${place.id}-list`;
  const list = element("ul", { role: "listbox", id, class: "matches", hidden: true, "aria-label": label });
  const input = element("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false",
    "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list",
  });
  const lower = names.map((name) => name.toLowerCase());
  let chosen = 0;
  let matches = [];
  let active = -1;

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function open() {
    const word = input.value.trim().toLowerCase();
    const found = [];
    for (let i = 0; i < names.length && found.length <= SHOWN_MATCHES; i++) if (lower[i].includes(word)) found.push(i);
    matches = found.slice(0, SHOWN_MATCHES);
    active = matches.length ? 0 : -1;
    const items = matches.map((i, k) => element("li", { role: "option", id: `${id}-${k}`, "aria-selected": "false", onmousedown: (event) => { event.preventDefault(); take(i); } }, names[i]));
    if (found.length > SHOWN_MATCHES) items.push(element("li", { class: "note", role: "presentation" }, "more: write on"));
    if (!found.length) items.push(element("li", { class: "note", role: "presentation" }, "nothing found"));
    list.replaceChildren(...items);
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark();
  }
  function mark() {
    [...list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === active)));
    if (active >= 0) input.setAttribute("aria-activedescendant", `${id}-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }
  function take(i) {
    close();
    show(i);
    choose(i);
  }
  function show(i) {
    chosen = i;
    input.value = names[i];
  }
  function step(by) {
    take((chosen + by + names.length) % names.length);
  }
  input.addEventListener("focus", () => input.select());
  input.addEventListener("input", open);
  input.addEventListener("click", () => { if (list.hidden) { input.select(); } });
  input.addEventListener("blur", () => { close(); input.value = names[chosen] ?? ""; });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !list.hidden && active >= 0) take(matches[active]);
    else if (event.key === "Escape") { close(); input.value = names[chosen]; }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open();
      else if (matches.length) active = (active + (event.key === "ArrowDown" ? 1 : -1) + matches.length) % matches.length;
      mark();
    }
  });
  place.classList.add("chooser");
  place.append(
    element("label", {}, label, input), list,
    element("button", { type: "button", "aria-label": "previous", onclick: () => step(-1) }, "←"),
    element("button", { type: "button", "aria-label": "next", onclick: () => step(1) }, "→"),
  );
  return { show, take };
}

// ---- scatter ----------------------------------------------------------------------------------------------------

const GL_FROM = 2000; // points; SVG is sharper below, too slow above

function hasWebGl() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl"));
  } catch {
    return false;
  }
}

const HAS_GL = hasWebGl();

function plotLayout(extra = {}) {
  const axis = { showgrid: false, zeroline: false, showticklabels: false, showline: false, fixedrange: false };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest", dragmode: "pan",
    margin: { l: 8, r: 8, t: 8, b: 8 }, font: { color: pageColour("--ink"), size: 12 },
    xaxis: { ...axis }, yaxis: { ...axis, scaleanchor: "x" }, uirevision: "kept", ...extra,
  };
}

let plotly = null;

/** Plotly, which is large: loaded once, after what is there has been painted, so that the page can be used before. */
function whenPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    requestAnimationFrame(() => setTimeout(() => {
      const script = element("script", { src: "assets/plotly.min.js", onload: resolve, onerror: () => reject(new Error("assets/plotly.min.js cannot be loaded")) });
      document.head.append(script);
    }));
  });
  return plotly;
}

const PLOT_CONFIG = { displaylogo: false, responsive: true, scrollZoom: true, displayModeBar: false };

/**
 * A map of points that are coloured by groups or by a scale; clicked, or walked with the arrow keys.
 *
 * x, y: of every point. describe(i): lines of text shown beside the pointer. pick(i): a point was chosen.
 */
class ScatterMap {
  constructor(box, { x, y, describe, pick, label, fileName }) {
    Object.assign(this, { box, x, y, describe, pick, fileName });
    this.groups = [];
    this.scale = null;
    this.hidden = new Set();
    this.edges = [];
    this.ringed = [];
    this.chosen = -1;
    this.plot = element("div", { class: "plot-area", "aria-hidden": "true" }); // the box around it has the label
    this.tip = element("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    box.classList.add("scatter");
    for (const [name, value] of Object.entries({ tabindex: 0, role: "application", "aria-label": label })) box.setAttribute(name, value);
    box.append(this.plot, this.tip);
    box.addEventListener("keydown", (event) => this.walk(event));
    document.addEventListener("themechange", () => this.draw());
  }

  type() {
    return this.x.length > GL_FROM && HAS_GL ? "scattergl" : "scatter";
  }

  traces(type) {
    const size = this.x.length > 5000 ? 4 : this.x.length > 1000 ? 6 : 9;
    const points = (members, marker) => ({
      type, mode: "markers", hoverinfo: "none", x: members.map((i) => this.x[i]), y: members.map((i) => this.y[i]), customdata: members,
      marker: { size, opacity: 0.85, line: { width: 0 }, ...marker },
    });
    const traces = [];
    if (this.edges.length) traces.push(this.edgeTrace(type));
    if (this.scale) {
      const known = this.scale.values.map((_, i) => i).filter((i) => this.scale.values[i] !== null);
      const colours = CIVIDIS.map((colour, k) => [k / (CIVIDIS.length - 1), colour]);
      const unknown = this.scale.values.map((_, i) => i).filter((i) => this.scale.values[i] === null);
      if (unknown.length) traces.push(points(unknown, { color: OTHER, symbol: "circle-open" }));
      traces.push(points(known, { color: known.map((i) => this.scale.values[i]), colorscale: colours, cmin: this.scale.low, cmax: this.scale.high, showscale: false }));
    }
    for (const group of [...this.groups].reverse()) {
      if (!this.hidden.has(group)) traces.push(points(group.members, { color: group.colour, symbol: group.symbol, size: size * (group.grow ?? 1) }));
    }
    if (this.ringed.length) traces.push(points(this.ringed, { symbol: "circle-open", size: size + 9, color: pageColour("--ink"), opacity: 1, line: { width: 2, color: pageColour("--ink") } }));
    return traces;
  }

  edgeTrace(type) {
    const x = [];
    const y = [];
    for (const [from, to] of this.edges) {
      x.push(this.x[from], this.x[to], null);
      y.push(this.y[from], this.y[to], null);
    }
    const strong = this.edges.length < 40;
    return { type, mode: "lines", hoverinfo: "skip", x, y, line: { width: strong ? 1.6 : 0.7, color: pageColour(strong ? "--ink" : "--plot-grid") }, opacity: strong ? 0.9 : 0.45 };
  }

  async draw() {
    await whenPlotly();
    await Plotly.react(this.plot, this.traces(this.type()), plotLayout(), PLOT_CONFIG);
    document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // plotly measures texts with it
    if (this.listening) return;
    this.listening = true;
    this.plot.on("plotly_click", ({ points }) => this.choose(points[0].customdata));
    this.plot.on("plotly_hover", ({ points, event }) => this.showTip(points[0].customdata, event));
    this.plot.on("plotly_unhover", () => { this.tip.hidden = true; });
  }

  showTip(i, event) {
    if (i === undefined) return;
    const box = this.box.getBoundingClientRect();
    this.tip.replaceChildren(...this.describe(i).map((line) => element("div", {}, line)));
    this.tip.hidden = false;
    const left = event.clientX - box.left;
    this.tip.style.left = left > box.width / 2 ? "auto" : `${left + 14}px`;
    this.tip.style.right = left > box.width / 2 ? `${box.width - left + 14}px` : "auto";
    this.tip.style.top = `${event.clientY - box.top + 10}px`;
  }

  choose(i) {
    if (i === undefined || i === null) return;
    this.chosen = i;
    this.pick(i);
  }

  /** Points that are not filtered away. */
  shown() {
    if (this.scale) return () => true;
    const members = new Set(this.groups.filter((group) => !this.hidden.has(group)).flatMap((group) => group.members));
    return (i) => members.has(i);
  }

  walk(event) {
    const direction = DIRECTIONS[event.key];
    if (!direction) return;
    event.preventDefault();
    const [right, down] = direction;
    const next = nearestInDirection(this.x, this.y, Math.max(this.chosen, 0), [right, -down], this.shown());
    if (next >= 0) this.choose(next);
  }

  async save() {
    // SVG for a paper: points as shapes, on white, with black text
    const copy = { data: this.traces("scatter"), layout: plotLayout({ paper_bgcolor: "#fff", width: 900, height: 700 }) };
    await Plotly.downloadImage({ ...copy, config: PLOT_CONFIG }, { format: "svg", width: 900, height: 700, filename: this.fileName });
  }
}

/**
 * Controls of a map: the column to colour by, one value against all others, a legend that filters.
 *
 * columns: {name, categories, codes} or {name, numbers}, of slides. slideOf(i): the slide of point i.
 * extras: more ways to colour, {name, groups()} or {name, numbers()} of points.
 */
class ColourControls {
  constructor({ select, only, legend, map, columns, slideOf, extras = [] }) {
    Object.assign(this, { select, only, legend, map, slideOf });
    const n = map.x.length;
    this.ways = [
      ...columns.map((column) => ({ name: column.name, column: this.ofPoints(column, n) })),
      ...extras,
    ];
    select.replaceChildren(...this.ways.map((way, k) => element("option", { value: k }, way.name)));
    select.addEventListener("change", () => { this.only.value = ""; this.fillOnly(); this.apply(); });
    only.addEventListener("change", () => this.apply());
    this.fillOnly();
  }

  ofPoints(column, n) {
    const spread = (values) => Array.from({ length: n }, (_, i) => values[this.slideOf(i)]);
    return column.numbers ? { ...column, numbers: spread(column.numbers) } : { ...column, codes: spread(column.codes) };
  }

  way() {
    return this.ways[Number(this.select.value)] ?? this.ways[0];
  }

  fillOnly() {
    const values = this.way()?.column?.categories ?? [];
    this.only.replaceChildren(element("option", { value: "" }, "all values"), ...values.map((value) => element("option", { value }, value)));
    this.only.closest("label").hidden = values.length < 2;
  }

  apply() {
    const way = this.way();
    this.map.hidden.clear();
    this.map.scale = null;
    this.map.groups = [];
    const numbers = way?.numbers ? way.numbers() : way?.column?.numbers;
    if (numbers) this.useScale(way.name, numbers);
    else this.useGroups(way?.groups ? way.groups() : way ? groupsOf(way.column, this.map.x.length, this.only.value) : [this.everything()]);
    return this.map.draw();
  }

  everything() {
    return { label: "all", colour: SERIES[0], symbol: "circle", glyph: "●", members: this.map.x.map((_, i) => i) };
  }

  useScale(name, values) {
    const known = values.filter((value) => value !== null);
    const low = known.reduce((least, value) => Math.min(least, value), Infinity); // too many to be arguments
    const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
    this.map.scale = { values, low, high };
    this.legend.replaceChildren(element("li", {}, known.length ? scaleLegend(name, low, high) : `${name}: not known of any`));
  }

  useGroups(groups) {
    this.map.groups = groups;
    this.legend.replaceChildren(...groups.map((group) => element("li", {}, this.toggle(group))));
  }

  toggle(group) {
    const button = element(
      "button", { type: "button", class: "key", "aria-pressed": "true" },
      element("span", { class: "glyph", style: `color: ${group.colour}`, "aria-hidden": "true" }, group.glyph),
      `${group.label} `, element("span", { class: "count" }, String(group.members.length)),
    );
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      if (shown) this.map.hidden.delete(group);
      else this.map.hidden.add(group);
      this.map.draw();
    });
    return button;
  }
}

/** A bar of the scale's colours with the numbers at its ends. */
function scaleLegend(name, low, high, unit = "") {
  const bar = element("span", { class: "scale-bar", style: `background: linear-gradient(to right, ${CIVIDIS.join(", ")})`, "aria-hidden": "true" });
  const text = (value) => `${Number.isInteger(value) ? value : value.toPrecision(3)}${unit}`;
  return element("span", { class: "scale" }, `${name}: ${text(low)} `, bar, ` ${text(high)}`);
}
