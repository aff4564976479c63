"""Outlines tumours: in slices over HTTP, in volumes as jobs; each mask lies in the input's own pixels or voxels."""

VERSION = "0.1.0"
