"""Files of patch tokens: of a slide, in the making, of a whole cohort."""
