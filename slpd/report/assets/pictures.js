// Pictures of regions, and a slide with its regions on it.
"use strict";

// ---- a region ---------------------------------------------------------------------------------------------------

/** The picture of a region, cut out of its slide's sheet; a frame with a word where there is none. */
function regionPicture(cohort, slide, data, region, label) {
  const place = data.place[region];
  if (!data.nPictures || place < 0) {
    const attributes = { class: "picture none", role: "img", "aria-label": `${label}: no picture` };
    return element("span", attributes, `region ${region}`);
  }
  const px = cohort.picturePx;
  const columns = Math.ceil(Math.sqrt(data.nPictures));
  const rows = Math.ceil(data.nPictures / columns);
  const viewBox = `${(place % columns) * px} ${Math.floor(place / columns) * px} ${px} ${px}`;
  const href = `regions/${cohort.cohort}/${cohort.numbers[slide]}.jpg`;
  const sheet = svgElement("image", { href, width: columns * px, height: rows * px, preserveAspectRatio: "none" });
  return svgElement("svg", { class: "picture", viewBox, role: "img", "aria-label": label }, sheet);
}

function physicalSize(data) {
  return data.side && data.mpp ? `${Math.round(data.side * data.mpp)} µm wide` : "";
}

/** A picture that opens larger, with all that is known of the region. */
function pictureButton(cohort, slide, data, region, about) {
  const label = `region ${region} of ${cohort.slides[slide]}, ${about}`;
  return button(
    () => enlarge(cohort, slide, data, region, about),
    { class: "picture-button", title: about },
    regionPicture(cohort, slide, data, region, label),
  );
}

function enlarge(cohort, slide, data, region, about) {
  const [x, y] = [data.x[region], data.y[region]];
  const corner = x >= 0 ? `upper left corner x ${x}, y ${y} (level-0 px)` : "place not known";
  const facts = [`Region ${region}`, about, corner, physicalSize(data)].filter(Boolean).join(" · ");
  const dialog = element(
    "dialog",
    { class: "enlarged", "aria-label": `Region ${region} of ${cohort.slides[slide]}` },
    element("h3", {}, cohort.slides[slide]),
    regionPicture(cohort, slide, data, region, `region ${region}`),
    element("p", { class: "note" }, facts),
    button(() => dialog.close(), {}, "Close"),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// ---- a slide ----------------------------------------------------------------------------------------------------

const MAX_NUMBERED = 400; // regions of a slide; numbers on more are too small to read

/** Corners and side of a slide's regions: on the slide, or in a plain grid where the places are not known. */
function regionGrid(data) {
  const n = data.x.length;
  if (data.side && data.x.every((x) => x >= 0)) {
    const width = data.width ?? Math.max(...data.x) + data.side;
    const height = data.height ?? Math.max(...data.y) + data.side;
    return { x: data.x, y: data.y, side: data.side, width, height, shapes: data.shapes, known: true };
  }
  const columns = Math.ceil(Math.sqrt(n)) || 1;
  const x = data.x.map((_, i) => i % columns);
  const y = data.x.map((_, i) => Math.floor(i / columns));
  return { x, y, side: 1, width: columns, height: Math.ceil(n / columns) || 1, shapes: {}, known: false };
}

/** A region on its slide: a square, or its patches where some are absent, with a text on it where there is one. */
function regionShape(grid, i, { fill, opacity, text }, choose) {
  const [x, y, side] = [grid.x[i], grid.y[i], grid.side];
  const style = { fill, "fill-opacity": opacity, stroke: fill, "stroke-width": grid.stroke };
  const shape = svgElement("g", { class: "region", "data-region": i, onclick: () => choose(i) });
  const rings = grid.shapes[i]?.flat();
  const d = rings?.map((ring) => `M${ring.map((point) => point.join(" ")).join("L")}Z`).join("");
  shape.append(
    d
      ? svgElement("path", { d, "fill-rule": "evenodd", ...style })
      : svgElement("rect", { x, y, width: side, height: side, ...style }),
  );
  if (text) {
    const size = side * 0.42;
    const middle = { x: x + side / 2, y: y + side / 2 + size * 0.35, "font-size": size, "text-anchor": "middle" };
    shape.append(svgElement("text", middle, text));
  }
  return shape;
}

/**
 * A slide's thumbnail with its regions on it, walked with the arrow keys.
 *
 * paint(region): {fill, opacity, text}; text is written on the region. pick(region): what to say of a chosen region.
 */
function slideMap(cohort, slide, data, { paint, pick, label }) {
  const grid = regionGrid(data);
  const { side, width, height } = grid;
  grid.stroke = Math.max(width, height) / 700;
  const hint = "Click a region, or move with the arrow keys.";
  const said = element("p", { class: "note readout", "aria-live": "polite" }, hint);
  const outline = { width: side, height: side, "stroke-width": grid.stroke * 3, visibility: "hidden" };
  const cursor = svgElement("rect", { class: "cursor", ...outline });
  let chosen = -1;
  function choose(region) {
    chosen = region;
    cursor.setAttribute("x", grid.x[region]);
    cursor.setAttribute("y", grid.y[region]);
    cursor.setAttribute("visibility", "visible");
    said.replaceChildren(...[pick(region)].flat());
  }
  const children = [...grid.x.map((_, i) => regionShape(grid, i, paint(i), choose)), cursor];
  if (grid.known && data.width) {
    const href = `thumbnails/${cohort.cohort}/${cohort.numbers[slide]}.jpg`;
    children.unshift(svgElement("image", { href, width, height, preserveAspectRatio: "none" }));
  }
  const shown = { viewBox: `0 0 ${width} ${height}`, style: `--ratio: ${(width / height).toFixed(4)}` };
  const attributes = { class: "slide-map", tabindex: 0, role: "img", "aria-label": label, ...shown };
  const picture = svgElement("svg", attributes, ...children);
  picture.addEventListener("keydown", (event) => {
    const direction = DIRECTIONS[event.key];
    if (!direction || !grid.x.length) return;
    event.preventDefault();
    const next = chosen < 0 ? 0 : nearestInDirection(grid.x, grid.y, chosen, direction);
    if (next >= 0) choose(next);
  });
  return element("div", { class: "slide-map-box" }, picture, said);
}

// ---- arrow keys -------------------------------------------------------------------------------------------------

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The nearest point within 45° of a direction; -1: none. y grows downwards. */
function nearestInDirection(x, y, from, [right, down], among = () => true) {
  let best = -1;
  let distance = Infinity;
  for (let i = 0; i < x.length; i++) {
    if (i === from || !among(i)) continue;
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
