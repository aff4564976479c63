"""Blobs: the inputs and results of jobs. The only part of Falx that imports the object-storage library."""
