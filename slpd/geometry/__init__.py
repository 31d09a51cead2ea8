"""Pure geometry of slides: sizes, grids, read plans, area averages. No files, no images of its own."""
