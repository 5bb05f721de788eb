"""Training of the box detector."""
