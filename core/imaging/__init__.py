"""From bytes to pixels: decoding, limits and the preprocessing that training and serving share."""
