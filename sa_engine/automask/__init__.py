"""Automatic mask generation: grids, crops, filters, the mask generator."""
