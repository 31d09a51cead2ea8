"""Whether a machine and its queue can run an experiment: a line per check, and what to do."""
