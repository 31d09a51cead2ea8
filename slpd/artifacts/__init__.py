"""Stored files: one module per file, which alone knows its keys, shapes, dtypes and units."""
