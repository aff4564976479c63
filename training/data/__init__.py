"""Data sets read in place: each adapter turns one published set into arrays made by ``core.imaging.preparation``."""
