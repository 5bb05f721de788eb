"""Charts as SVG texts, readable in black and white."""
