"""A data engine that builds segmentation datasets the way SA-1B was built."""

from sa_engine.version import __version__

__all__ = ["__version__"]
