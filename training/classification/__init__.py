"""What is trained, calibrated and exported as a classifier of slices."""
