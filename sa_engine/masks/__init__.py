"""Mask algebra: run lengths, boxes, polygons, NMS, stability, small regions. Pure functions."""
