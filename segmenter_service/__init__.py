"""Outlines tumours in slices: bytes of a slice in, a mask in the slice's own pixels out."""
