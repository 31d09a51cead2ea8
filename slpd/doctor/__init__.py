"""Checks whether a machine and its queue can run an experiment. Each check is one line with its remedy."""
