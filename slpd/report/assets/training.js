// Variants of the training curves, shown or hidden in every figure.
"use strict";

for (const box of document.querySelectorAll("input[data-curve]")) {
  box.addEventListener("change", () => {
    for (const curve of document.querySelectorAll(`svg [id*="curve-${box.dataset.curve}-"]`)) {
      curve.style.display = box.checked ? "" : "none";
    }
  });
}
