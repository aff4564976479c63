"""PNG, JPEG, TIFF, WebP and BMP: judged by their structure, then decoded to grey slices."""
