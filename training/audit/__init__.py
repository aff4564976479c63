"""Leakage audit: which slices show the same head, and whether any of them stand on both sides of a split."""
