"""Steps by which pattern.py finds the exposures of a frame's sites, and how far apart they are."""
