// Colours of prototypes, of the columns of a sheet, and of scales; shapes and numbers say the same.
"use strict";

// Okabe & Ito (2008), told apart with every kind of colour vision; all others share one grey.
const SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F3A"];
const OTHER = "#8C8C8C";
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "star", "hexagon"];
const GLYPHS = ["●", "■", "◆", "▲", "▼", "★", "⬢"];
// Nuñez et al. (2018), in ten steps.
const CIVIDIS = [
  ...["#00224e", "#123570", "#3b496c", "#575d6d", "#707173"],
  ...["#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"],
];

function seriesColour(number) {
  return SERIES[number] ?? OTHER;
}

/** Red, green and blue of `#rrggbb`, 0 to 255. */
function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** The number of a prototype on its colour, black or white, whichever contrasts more (WCAG 2.2: luminance 0.179). */
function badge(number) {
  const colour = seriesColour(number);
  const [red, green, blue] = channels(colour).map((channel) => (channel / 255) ** 2.2);
  const text = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
  return element("span", { class: "badge", style: `background: ${colour}; color: ${text}` }, String(number + 1));
}

/** Red, green and blue of the scale cividis, for a number from 0 to 1. */
function scaleColour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const below = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const [from, to] = [channels(CIVIDIS[below]), channels(CIVIDIS[below + 1])];
  return from.map((channel, i) => Math.round(channel * (below + 1 - place) + to[i] * (place - below)));
}

function cssColour([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

/** A bar of the scale's colours with the numbers at its ends. */
function scaleLegend(name, low, high, unit = "") {
  const bar = element("span", { class: "scale-bar", "aria-hidden": "true" });
  const text = (value) => `${Number.isInteger(value) ? value : value.toPrecision(3)}${unit}`;
  return element("span", { class: "scale" }, `${name}: ${text(low)} `, bar, ` ${text(high)}`);
}

/** A colour of the page by its name in report.css, as the theme has it now. */
function pageColour(name) {
  const probe = element("span", { style: `color: var(${name})` });
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

// ---- columns of the sheet ---------------------------------------------------------------------------------------

/** The value of a slide in a column; empty: not given. */
function valueOf(column, slide) {
  if (column.numbers) return column.numbers[slide] === null ? "" : String(column.numbers[slide]);
  return column.categories[column.codes[slide]] ?? "";
}

/** Name and value of a slide in every column. */
function columnFacts(cohort, slide) {
  return cohort.columns.map((column) => [column.name, valueOf(column, slide) || "not given"]);
}

/**
 * Slides in groups that can be told apart: the most frequent values, the rest as "other", those without a value.
 * `only`: one value against all others.
 */
function groupsOf(column, n, only = "") {
  const shown = column.categories.length > SERIES.length ? SERIES.length - 1 : SERIES.length;
  const names = only ? [only] : column.categories.slice(0, shown);
  const group = (label, colour, symbol, glyph) => ({ label, colour, symbol, glyph, members: [] });
  const groups = new Map(names.map((name, k) => [name, group(name, SERIES[k], SYMBOLS[k], GLYPHS[k])]));
  const rest = `other (${column.categories.length - names.length} values)`;
  const other = group(only ? "all others" : rest, OTHER, "circle", "●");
  const missing = group("not given", OTHER, "circle-open", "○");
  for (let i = 0; i < n; i++) {
    const name = column.categories[column.codes[i]];
    (name === undefined ? missing : (groups.get(name) ?? other)).members.push(i);
  }
  return [...groups.values(), other, missing].filter(({ members }) => members.length);
}
