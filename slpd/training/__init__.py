"""Training: batches, optimiser, step, loop, resuming."""
