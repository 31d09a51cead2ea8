"""The report: pages from arrays and records. `site.py` writes them; every page has a module that gives its context."""
