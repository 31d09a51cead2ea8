// A map of points in a plane, with controls of its colours; drawn by plotly.
"use strict";

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
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    hovermode: "closest",
    dragmode: "pan",
    margin: { l: 8, r: 8, t: 8, b: 8 },
    font: { color: pageColour("--ink"), size: 12 },
    xaxis: { ...axis },
    yaxis: { ...axis, scaleanchor: "x" },
    uirevision: "kept",
    ...extra,
  };
}

let plotly = null;

/** Plotly, which is large: loaded once, after what is there has been painted, so that the page can be used before. */
function whenPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const src = "assets/plotly.min.js";
    const onerror = () => reject(new Error(`${src} cannot be loaded`));
    const load = () => document.head.append(element("script", { src, onload: resolve, onerror }));
    requestAnimationFrame(() => setTimeout(load));
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
    setAttributes(box, { tabindex: 0, role: "application", "aria-label": label });
    box.append(this.plot, this.tip);
    box.addEventListener("keydown", (event) => this.walk(event));
    document.addEventListener("themechange", () => this.draw());
  }

  type() {
    return this.x.length > GL_FROM && HAS_GL ? "scattergl" : "scatter";
  }

  size() {
    return this.x.length > 5000 ? 4 : this.x.length > 1000 ? 6 : 9;
  }

  traces(type) {
    const edges = this.edges.length ? [this.edgeTrace(type)] : [];
    const points = this.scale ? this.scaleTraces(type) : this.groupTraces(type);
    return [...edges, ...points, ...(this.ringed.length ? [this.ringTrace(type)] : [])];
  }

  pointTrace(type, members, marker) {
    return {
      type,
      mode: "markers",
      hoverinfo: "none",
      customdata: members,
      x: members.map((i) => this.x[i]),
      y: members.map((i) => this.y[i]),
      marker: { size: this.size(), opacity: 0.85, line: { width: 0 }, ...marker },
    };
  }

  scaleTraces(type) {
    const { values, low, high } = this.scale;
    const all = values.map((_, i) => i);
    const [known, unknown] = [all.filter((i) => values[i] !== null), all.filter((i) => values[i] === null)];
    const colorscale = CIVIDIS.map((colour, k) => [k / (CIVIDIS.length - 1), colour]);
    const color = known.map((i) => values[i]);
    const missing = this.pointTrace(type, unknown, { color: OTHER, symbol: "circle-open" });
    const scaled = this.pointTrace(type, known, { color, colorscale, cmin: low, cmax: high, showscale: false });
    return unknown.length ? [missing, scaled] : [scaled];
  }

  groupTraces(type) {
    const shown = this.groups.filter((group) => !this.hidden.has(group)).reverse();
    return shown.map(({ members, colour, symbol, grow }) =>
      this.pointTrace(type, members, { color: colour, symbol, size: this.size() * (grow ?? 1) }),
    );
  }

  ringTrace(type) {
    const color = pageColour("--ink");
    const ring = { symbol: "circle-open", size: this.size() + 9, color, opacity: 1, line: { width: 2, color } };
    return this.pointTrace(type, this.ringed, ring);
  }

  edgeTrace(type) {
    const x = [];
    const y = [];
    for (const [from, to] of this.edges) {
      x.push(this.x[from], this.x[to], null);
      y.push(this.y[from], this.y[to], null);
    }
    const strong = this.edges.length < 40;
    const line = { width: strong ? 1.6 : 0.7, color: pageColour(strong ? "--ink" : "--plot-grid") };
    return { type, mode: "lines", hoverinfo: "skip", x, y, line, opacity: strong ? 0.9 : 0.45 };
  }

  async draw() {
    await whenPlotly();
    await Plotly.react(this.plot, this.traces(this.type()), plotLayout(), PLOT_CONFIG);
    byId("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // plotly measures texts with it
    if (this.listening) return;
    this.listening = true;
    this.plot.on("plotly_click", ({ points }) => this.choose(points[0].customdata));
    this.plot.on("plotly_hover", ({ points, event }) => this.showTip(points[0].customdata, event));
    this.plot.on("plotly_unhover", () => {
      this.tip.hidden = true;
    });
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

  /** Whether a point is not filtered away. */
  shown() {
    if (this.scale) return () => true;
    const members = this.groups.filter((group) => !this.hidden.has(group)).flatMap((group) => group.members);
    const set = new Set(members);
    return (i) => set.has(i);
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
    const size = { width: 900, height: 700 };
    const layout = plotLayout({ paper_bgcolor: "#fff", ...size });
    const copy = { data: this.traces("scatter"), layout, config: PLOT_CONFIG };
    await Plotly.downloadImage(copy, { format: "svg", ...size, filename: this.fileName });
  }
}

/**
 * Controls of a map: the column to colour by, one value against all others, a legend that filters.
 *
 * columns: {name, categories, codes} or {name, numbers}, of slides. slideOf(i): the slide of point i.
 * extras: more ways to colour points, {name, groups()} or {name, numbers()}.
 */
class ColourControls {
  constructor({ map, columns, slideOf, extras }) {
    Object.assign(this, { map, select: byId("map-colour"), only: byId("map-only"), legend: byId("map-legend") });
    const ofPoints = (values) => map.x.map((_, i) => values[slideOf(i)]);
    this.ways = [...columns.map((column) => this.columnWay(column, ofPoints)), ...extras];
    this.select.replaceChildren(...this.ways.map((way, k) => element("option", { value: k }, way.name)));
    this.select.addEventListener("change", () => {
      this.only.value = "";
      this.fillOnly();
      this.apply();
    });
    this.only.addEventListener("change", () => this.apply());
    this.fillOnly();
  }

  /** The way to colour points by a column of slides. */
  columnWay(column, ofPoints) {
    if (column.numbers) return { name: column.name, numbers: () => ofPoints(column.numbers) };
    const points = { ...column, codes: ofPoints(column.codes) };
    const groups = () => groupsOf(points, this.map.x.length, this.only.value);
    return { name: column.name, categories: column.categories, groups };
  }

  way() {
    return this.ways[Number(this.select.value)];
  }

  fillOnly() {
    const values = this.way().categories ?? [];
    const options = values.map((value) => element("option", { value }, value));
    this.only.replaceChildren(element("option", { value: "" }, "all values"), ...options);
    this.only.closest("label").hidden = values.length < 2;
  }

  apply() {
    const way = this.way();
    this.map.hidden.clear();
    this.map.scale = null;
    this.map.groups = [];
    if (way.numbers) this.useScale(way.name, way.numbers());
    else this.useGroups(way.groups());
    return this.map.draw();
  }

  useScale(name, values) {
    const known = values.filter((value) => value !== null);
    const low = known.reduce((least, value) => Math.min(least, value), Infinity); // too many to be arguments
    const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
    this.map.scale = { values, low, high };
    const text = known.length ? scaleLegend(name, low, high) : `${name}: not known of any`;
    this.legend.replaceChildren(element("li", {}, text));
  }

  useGroups(groups) {
    this.map.groups = groups;
    this.legend.replaceChildren(...groups.map((group) => element("li", {}, this.toggle(group))));
  }

  toggle(group) {
    const key = button(
      () => {
        const shown = key.getAttribute("aria-pressed") !== "true";
        key.setAttribute("aria-pressed", String(shown));
        if (shown) this.map.hidden.delete(group);
        else this.map.hidden.add(group);
        this.map.draw();
      },
      { class: "key", "aria-pressed": "true" },
      element("span", { class: "glyph", style: `color: ${group.colour}`, "aria-hidden": "true" }, group.glyph),
      `${group.label} `,
      element("span", { class: "count" }, String(group.members.length)),
    );
    return key;
  }
}
