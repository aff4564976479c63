"""Slices over HTTP: images in, masks in the caller's own pixels out."""
