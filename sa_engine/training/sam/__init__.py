"""Training of the promptable model."""
