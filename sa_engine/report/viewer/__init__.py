"""A page to look through the masks of a dataset, or of two side by side."""
