"""The costliest files that are let in: what a decode of each takes."""
