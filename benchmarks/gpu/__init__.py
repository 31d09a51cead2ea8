"""All that is measured on a GPU, in one call: see README.md."""
