"""Figures and the page of ``docs/models``: what the data look like, how training went, what the bundles answer."""
