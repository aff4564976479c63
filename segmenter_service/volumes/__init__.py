"""Volumes from the queue: scans in, labels on the scan's own voxels out."""
