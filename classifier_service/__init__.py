"""Classifies slices: bytes of a slice in, class probabilities, an evidence map and an input check out."""
