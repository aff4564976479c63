"""NIfTI: bytes to volumes, and label maps back onto the same grid."""
