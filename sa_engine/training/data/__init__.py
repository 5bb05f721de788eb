"""Training data: sources of samples, and the order in which they are drawn."""
