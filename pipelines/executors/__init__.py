"""Engines that start workers on many machines; the dataset itself is their queue."""
