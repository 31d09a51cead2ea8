// What every page has: the theme, tables that sort and filter, data that are loaded when they are needed.
// Data reach the page as text nodes and attributes alone, never as markup.
"use strict";

// ---- data -------------------------------------------------------------------------------------------------------

/** The JSON that the page holds under an id. */
function pageData(id) {
  return JSON.parse(byId(id).textContent);
}

const waiting = new Map(); // path -> what resolves its promise
const loaded = new Map(); // path -> promise of its data

/** Called by the scripts below data/: hands their data over. */
function slpdData(path, value) {
  const resolve = waiting.get(path);
  waiting.delete(path);
  if (resolve) resolve(value);
}

/** The data of a script below data/, loaded once. Pages from a file may not fetch, but they may load scripts. */
function loadData(path) {
  if (!loaded.has(path)) {
    loaded.set(
      path,
      new Promise((resolve, reject) => {
        waiting.set(path, resolve);
        const onerror = () => {
          loaded.delete(path);
          reject(new Error(`${path} cannot be loaded`));
        };
        const script = element("script", { src: path, onload: () => script.remove(), onerror });
        document.head.append(script);
      }),
    );
  }
  return loaded.get(path);
}

// ---- elements ---------------------------------------------------------------------------------------------------

function byId(id) {
  return document.getElementById(id);
}

/** Attributes by name (null and false are left out); those that begin with "on" are listeners. */
function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (![null, false, undefined].includes(value)) node.setAttribute(name, value === true ? "" : value);
  }
}

/** An element with attributes; children are nodes or text, null is left out. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  setAttributes(made, attributes);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svgElement(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

function button(onclick, attributes, ...children) {
  return element("button", { type: "button", ...attributes, onclick }, ...children);
}

/** Pairs of name and value, as the children of a list of definitions. */
function definitions(pairs) {
  return pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
}

function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

function decimals(number, places = 3) {
  return number === null || number === undefined ? "–" : number.toFixed(places).replace("-", "−");
}

// ---- theme ------------------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];

function currentTheme() {
  return document.documentElement.dataset.theme || "auto";
}

/** Pages that draw with colours of their own listen to "themechange" on document. */
function announceTheme() {
  document.dispatchEvent(new Event("themechange"));
}

function showTheme() {
  byId("theme").textContent = `Theme: ${currentTheme()}`;
}

byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("slpd-theme", next);
  } catch {
    // holds for this page
  }
  showTheme();
  announceTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announceTheme);
showTheme();

// ---- tables -----------------------------------------------------------------------------------------------------

function sortKey(cell, numeric) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (!numeric) return text;
  const number = parseFloat(text.replace("−", "-").replaceAll("\u202f", ""));
  return Number.isNaN(number) ? Infinity : number; // what has no number stands last
}

function sortTable(table, place, direction) {
  const body = table.tBodies[0];
  const numeric = table.tHead.rows[table.tHead.rows.length - 1].cells[place].classList.contains("number");
  const keyed = [...body.rows].map((row) => [sortKey(row.cells[place], numeric), row]);
  const order = new Intl.Collator(undefined, { numeric: true }).compare;
  keyed.sort(([a], [b]) => {
    if (!numeric) return direction * order(a, b);
    if (!Number.isFinite(a) || !Number.isFinite(b)) return (a === Infinity) - (b === Infinity);
    return direction * (a - b);
  });
  body.append(...keyed.map(([, row]) => row));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, place) => {
    const button = element("button", { type: "button", class: "sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      sortTable(table, place, direction);
    });
  });
}

function makeFilterable(input) {
  const table = input.closest(".table").querySelector("table");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("input[data-filter]").forEach(makeFilterable);
