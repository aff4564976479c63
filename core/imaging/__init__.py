"""From bytes to pixels and voxels: decoding within limits, and the preparation that training and serving share."""
