"""What is trained, exported and quantised as a segmenter of volumes."""
