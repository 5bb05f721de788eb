"""The three stages of the data engine, and what they share."""
