"""Files about runs: their manifests, and what jobs took."""
