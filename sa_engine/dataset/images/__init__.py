"""From an image file's bytes to upright 8-bit RGB."""
