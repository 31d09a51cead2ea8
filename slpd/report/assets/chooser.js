// Choosing a slide or a case: by name, one after the other, or by the address of the page; and loading its data.
"use strict";

const SHOWN_MATCHES = 12;

function hashValues() {
  return new URLSearchParams(location.hash.slice(1));
}

/** Keep what is chosen in the address, so that it can be sent to somebody. */
function keepInHash(values) {
  const kept = hashValues();
  for (const [name, value] of Object.entries(values)) kept.set(name, value);
  history.replaceState(null, "", `#${kept}`);
}

/** The slide that a page begins with: that of its address, else the first with prototypes. */
function firstSlide(cohort) {
  const asked = cohort.slides.indexOf(hashValues().get("slide"));
  return asked >= 0 ? asked : Math.max(cohort.kept.indexOf(true), 0);
}

/** The data of a slide; what fails is said where they were to be shown. */
async function slideData(cohort, slide, place) {
  try {
    return await loadData(`data/${cohort.cohort}/${cohort.variant}/${cohort.numbers[slide]}.js`);
  } catch (error) {
    const text = `${cohort.slides[slide]}: ${error.message}. Is the folder of the report whole?`;
    place.replaceChildren(element("p", { class: "warn", role: "alert" }, text));
    return null;
  }
}

/** A search field with a list (ARIA combobox) and buttons for the next and the last one. */
function chooser(place, label, names, choose) {
  const id = `${place.id}-list`;
  const list = element("ul", { role: "listbox", id, class: "matches", hidden: true, "aria-label": label });
  const input = element("input", {
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-autocomplete": "list",
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
  function option(i, k) {
    const attributes = { role: "option", id: `${id}-${k}`, "aria-selected": "false" };
    return element(
      "li",
      {
        ...attributes,
        onmousedown: (event) => {
          event.preventDefault();
          take(i);
        },
      },
      names[i],
    );
  }
  function open() {
    const word = input.value.trim().toLowerCase();
    const fitting = [];
    for (let i = 0; i < names.length && fitting.length <= SHOWN_MATCHES; i++) {
      if (lower[i].includes(word)) fitting.push(i);
    }
    matches = fitting.slice(0, SHOWN_MATCHES);
    active = matches.length ? 0 : -1;
    const remark = fitting.length > SHOWN_MATCHES ? "more: write on" : fitting.length ? null : "nothing found";
    list.replaceChildren(...matches.map(option));
    if (remark) list.append(element("li", { class: "note", role: "presentation" }, remark));
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
  function move(by) {
    if (list.hidden) open();
    else if (matches.length) active = (active + by + matches.length) % matches.length;
    mark();
  }
  input.addEventListener("focus", () => input.select());
  input.addEventListener("input", open);
  input.addEventListener("click", () => {
    if (list.hidden) input.select();
  });
  input.addEventListener("blur", () => {
    close();
    input.value = names[chosen] ?? "";
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !list.hidden && active >= 0) take(matches[active]);
    else if (event.key === "Escape") {
      close();
      input.value = names[chosen];
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    }
  });
  place.classList.add("chooser");
  place.append(
    element("label", {}, label, input),
    list,
    button(() => step(-1), { "aria-label": "previous" }, "←"),
    button(() => step(1), { "aria-label": "next" }, "→"),
  );
  return { show, take };
}
