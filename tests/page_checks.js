// What tests/browser.py asks a page about itself.
const checks = {
  headings() {
    return [...document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6)")]
      .filter((one) => one.checkVisibility())
      .map((one) => Number(one.tagName[1]));
  },

  withoutAlt() {
    return [...document.querySelectorAll("img:not([alt])")].map((one) => one.outerHTML.slice(0, 160));
  },

  plainTables() {
    return [...document.querySelectorAll("table")]
      .filter((one) => !one.caption || !one.querySelector("th[scope]"))
      .map((one) => one.outerHTML.slice(0, 160));
  },

  // WCAG 2.2, 1.4.3: contrast of text against the nearest backgrounds behind it is 4.5 or more, of large text (24 px, or
  // bold 18.66 px) and of signs that are pictures (1.4.11) 3. Text over pictures is left out.
  contrast() {
    const channels = (colour) => {
      const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
      return colour.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
    };
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const luminance = (colour) => {
      const [r, g, b] = colour
        .map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (one) => {
      const layers = [];
      for (let at = one; at; at = at.parentElement) {
        const style = getComputedStyle(at);
        if (style.backgroundImage !== "none") return null;
        layers.push(channels(style.backgroundColor));
      }
      return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
    };
    // Of text in a drawing: the last shape before it that is painted where it stands; null where that is a picture.
    const drawnUnder = (text) => {
      const box = text.getBoundingClientRect();
      const x = (box.left + box.right) / 2,
        y = (box.top + box.bottom) / 2;
      let colour = background(text.ownerSVGElement);
      for (const shape of text.ownerSVGElement.querySelectorAll("path, rect, circle, polygon, image, use")) {
        const place = shape.getBoundingClientRect();
        const before = shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
        if (
          !before ||
          shape.closest("defs, clipPath") ||
          x < place.left ||
          x > place.right ||
          y < place.top ||
          y > place.bottom
        )
          continue;
        const style = getComputedStyle(shape);
        if (shape.tagName === "image") colour = null;
        if (!style.fill.startsWith("rgb") || !colour) continue;
        const [r, g, b, a] = channels(style.fill);
        colour = over([r, g, b, a * Number(style.fillOpacity) * Number(style.opacity)], colour);
      }
      return colour;
    };
    const faults = new Map();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const one = text.parentElement;
      const words = text.textContent.trim();
      if (!words || one.closest("script, style, noscript, title, desc, option, :disabled")) continue;
      if (!one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
      const style = getComputedStyle(one);
      const paint = one instanceof SVGElement ? style.fill : style.color;
      const under = one instanceof SVGElement && one.ownerSVGElement ? drawnUnder(one) : background(one);
      if (!under || !paint.includes("(")) continue;
      const [low, high] = [luminance(over(channels(paint), under)), luminance(under)].sort((a, b) => a - b);
      const ratio = (high + 0.05) / (low + 0.05);
      const size = parseFloat(style.fontSize);
      const large = !/[\p{L}\p{N}]/u.test(words) || size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const where = `${one.tagName} class="${one.getAttribute("class")}" ${paint} on ${under.map(Math.round)}`;
      if (ratio < (large ? 3 : 4.5) - 0.005)
        faults.set(where, `contrast ${ratio.toFixed(2)}: "${words.slice(0, 40)}", ${where}`);
    }
    return [...faults.values()];
  },

  // Numbers what the Tab key should reach, in the order of the page.
  focusable() {
    const all = [
      ...document.querySelectorAll("a[href], button, select, textarea, input:not([type=hidden]), summary, [tabindex]"),
    ];
    const reached = all.filter(
      (one) =>
        one.tabIndex >= 0 &&
        !one.disabled &&
        one.checkVisibility({ visibilityProperty: true }) &&
        !(one.type === "radio" && !one.checked),
    );
    reached.forEach((one, place) => {
      one.dataset.tabPlace = place;
    });
    return reached.length;
  },

  // Of what has the focus: its number (null: none, "scrolls": a part that the browser itself makes reachable, because it
  // scrolls), whether the focus shows, and markup.
  focused() {
    const one = document.activeElement;
    const style = getComputedStyle(one);
    const shows = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
    const scrolls = one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight;
    return [
      one.dataset.tabPlace ?? (scrolls && one !== document.body ? "scrolls" : null),
      shows,
      one.outerHTML.slice(0, 120),
    ];
  },
};
