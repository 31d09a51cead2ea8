"""Evaluation: labelled slides, folds, heads and metrics. Heads that need torch are modules of their own."""
