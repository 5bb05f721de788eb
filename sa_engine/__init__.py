"""A data engine that builds segmentation datasets the way SA-1B was built.

>>> from sa_engine import MaskGenerator, load_model, plot
>>> model = load_model()
>>> masks = MaskGenerator(model).generate("photo.jpg")
>>> plot("photo.jpg", masks)

Names are imported when they are first used: `import sa_engine` loads neither torch nor numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sa_engine.version import __version__

if TYPE_CHECKING:
    from sa_engine.automask.config import GeneratorConfig
    from sa_engine.automask.generator import MaskGenerator
    from sa_engine.dataset.reader import Dataset
    from sa_engine.dataset.records import ImageRecord, MaskRecord
    from sa_engine.errors import SaEngineError
    from sa_engine.model.card import ModelCard
    from sa_engine.model.predictor import Predictor
    from sa_engine.model.weights import load_model
    from sa_engine.report.plot import plot

__all__ = [
    "Dataset",
    "GeneratorConfig",
    "ImageRecord",
    "MaskGenerator",
    "MaskRecord",
    "ModelCard",
    "Predictor",
    "SaEngineError",
    "__version__",
    "load_model",
    "plot",
]

_HOMES = {
    "Dataset": "sa_engine.dataset.reader",
    "GeneratorConfig": "sa_engine.automask.config",
    "ImageRecord": "sa_engine.dataset.records",
    "MaskGenerator": "sa_engine.automask.generator",
    "MaskRecord": "sa_engine.dataset.records",
    "ModelCard": "sa_engine.model.card",
    "Predictor": "sa_engine.model.predictor",
    "SaEngineError": "sa_engine.errors",
    "load_model": "sa_engine.model.weights",
    "plot": "sa_engine.report.plot",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sa_engine' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
