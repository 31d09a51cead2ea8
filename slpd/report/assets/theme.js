// Before anything is painted: the theme that was chosen last. Some browsers keep nothing for pages from a file.
"use strict";
try {
  const kept = localStorage.getItem("slpd-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {
  // follows the system
}
