"""DICOM: files and headers, pixels, series in space, whole studies."""
