"""Which model made which masks, and which masks trained which model.

One sealed JSON file beside the rounds. Entries are known by digests of content and are never
removed: what a changed config does not need any more stays accounted for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.sealed import seal, unseal
from sa_engine.pipelines.loop.steps import replace_file
from sa_engine.version import __version__

REGISTRY_NAME = "registry.json"
FORMAT_VERSION = 1


@dataclass(slots=True)
class Registry:
    """The accounts of a loop.

    models: by SHA-256 of the file: what it is ("model" or "detector"), who made it, what it was
        trained on (digests of sets, with names), what it started from, how it measured.
    sets: by digest of the content: where it lies, how many masks of which stage, which model and
        detector made them.
    rounds: of the config as it is: what each gathered, trained and measured, and what was decided.
    promoted: digests of the model and the detector in force.
    """

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    promoted: dict[str, str | None] = field(default_factory=dict)

    def add_model(self, digest: str, entry: Mapping[str, Any]) -> None:
        """Enter a model or detector; what is known of it already stays."""
        self.models[digest] = {**self.models.get(digest, {}), **entry}

    def add_set(self, digest: str, entry: Mapping[str, Any]) -> None:
        """Enter a set."""
        self.sets[digest] = {**self.sets.get(digest, {}), **entry}

    def masks_of(self, model: str) -> list[str]:
        """Digests of the sets whose masks a model or detector made or proposed."""
        return [
            digest
            for digest, entry in self.sets.items()
            if model in (entry.get("model"), entry.get("detector"))
        ]

    def trained_by(self, digest: str) -> list[str]:
        """Digests of the models and detectors that a set trained."""
        return [
            model for model, entry in self.models.items() if digest in entry.get("trained_on", {})
        ]

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        content = {
            "format_version": FORMAT_VERSION,
            "engine_version": __version__,
            "models": self.models,
            "sets": self.sets,
            "rounds": self.rounds,
            "promoted": self.promoted,
        }
        replace_file(folder / REGISTRY_NAME, seal(content))


def read_registry(folder: Path) -> Registry:
    """A loop's registry; an empty one if there is none yet. DamagedError if it was changed."""
    path = folder / REGISTRY_NAME
    try:
        content = unseal(path.read_bytes(), name=str(path))
    except FileNotFoundError:
        return Registry()
    return Registry(
        models=content["models"],
        sets=content["sets"],
        rounds=content["rounds"],
        promoted=content["promoted"],
    )
