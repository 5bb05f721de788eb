"""Encodings inside foreign files: brush strokes, MATLAB, PNG, JSON, label maps, shapes."""
