"""What is trained and exported as a segmenter of slices."""
