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
    from sa_engine.dataset.status import read_status
    from sa_engine.errors import SaEngineError
    from sa_engine.model.card import ModelCard
    from sa_engine.model.predictor import Predictor
    from sa_engine.model.weights import load_model
    from sa_engine.pipelines.run.workers import Workers
    from sa_engine.pipelines.stages.automatic import (
        AutomaticRun,
        prepare_automatic,
        run_automatic,
    )
    from sa_engine.pipelines.working import WorkRun, run_work
    from sa_engine.report.plot import plot

__all__ = [
    "AutomaticRun",
    "Dataset",
    "GeneratorConfig",
    "ImageRecord",
    "MaskGenerator",
    "MaskRecord",
    "ModelCard",
    "Predictor",
    "SaEngineError",
    "WorkRun",
    "Workers",
    "__version__",
    "load_model",
    "plot",
    "prepare_automatic",
    "read_status",
    "run_automatic",
    "run_work",
]

_HOMES = {
    "AutomaticRun": "sa_engine.pipelines.stages.automatic",
    "Dataset": "sa_engine.dataset.reader",
    "GeneratorConfig": "sa_engine.automask.config",
    "ImageRecord": "sa_engine.dataset.records",
    "MaskGenerator": "sa_engine.automask.generator",
    "MaskRecord": "sa_engine.dataset.records",
    "ModelCard": "sa_engine.model.card",
    "Predictor": "sa_engine.model.predictor",
    "SaEngineError": "sa_engine.errors",
    "WorkRun": "sa_engine.pipelines.working",
    "Workers": "sa_engine.pipelines.run.workers",
    "load_model": "sa_engine.model.weights",
    "plot": "sa_engine.report.plot",
    "prepare_automatic": "sa_engine.pipelines.stages.automatic",
    "read_status": "sa_engine.dataset.status",
    "run_automatic": "sa_engine.pipelines.stages.automatic",
    "run_work": "sa_engine.pipelines.working",
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
