"""Files of evaluations: folds, predictions, metrics."""
