"""Stages: one module per rule of the workflow. They read files, call the package, write files."""
