"""Evaluation protocols: clicks, boxes, proposals, baselines, intervals."""
