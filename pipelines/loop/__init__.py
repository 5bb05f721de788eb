"""The loop: rounds of gathering, training, measuring and promoting."""
