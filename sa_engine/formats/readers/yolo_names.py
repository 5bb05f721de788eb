"""What lies beside YOLO's label files: class names, and whether rows hold key points."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sa_engine.errors import AnnotationError
from sa_engine.formats.fields import text

RINGS_IN_PIXELS = "pixels"
"""What `rings` says in the `data.yaml` of an export of ours."""

_MAX_BYTES = 1 << 20
_YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_LISTS = ("classes.txt", "obj.names", "data/obj.names", "_darknet.labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloConfig:
    """names: by class number; empty where nothing says them.

    key_points: number of key points of a row, and numbers of each (2, or 3 with its visibility);
        None where rows hold rings and boxes.
    rings_in_pixels: whether the rings are an export of ours, see `masks.inset.to_pixels`.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    key_points: tuple[int, int] | None = None
    rings_in_pixels: bool = False


def read_config(given: Path | None, root: Path) -> YoloConfig:
    """What the files of a data set say of its rows.

    given: a file that the user named; root: the folder of the label files.
    Raises AnnotationError if `data.yaml` cannot be read.
    """
    folders = _folders(root)
    files = [given] if given is not None and given.suffix in (".yaml", ".yml") else []
    files += [folder / name for folder in folders for name in _YAML]
    config = next((_of_yaml(file) for file in files if file.is_file()), YoloConfig())
    if config.names:
        return config
    lists = [folder / name for folder in folders for name in _LISTS]
    lists += sorted(root.glob("*/_darknet.labels"))
    for file in lists:
        if file.is_file() and file.stat().st_size <= _MAX_BYTES:
            lines = file.read_text("utf-8-sig", "replace").splitlines()
            names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
            return replace(config, names=names)
    return replace(config, names=_of_notes(folders))


def _folders(root: Path) -> tuple[Path, ...]:
    """Where a data set's own files may lie, seen from its folder of labels."""
    above = root.absolute()
    if "labels" in above.parts:
        while above.name != "labels":
            above = above.parent
    return tuple(dict.fromkeys((root, root.parent, above.parent)))


def _of_notes(folders: tuple[Path, ...]) -> dict[int, str]:
    """Class names from Label Studio's `notes.json`."""
    for folder in folders:
        file = folder / "notes.json"
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        listed = content.get("categories") if isinstance(content, dict) else None
        rows = [each for each in listed or () if isinstance(each, dict)] if listed else []
        return _by_number([(row.get("id"), row.get("name")) for row in rows])
    return {}


def _of_yaml(file: Path) -> YoloConfig:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise AnnotationError(f"{file} has over {_MAX_BYTES} bytes")
        content = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise AnnotationError(f"cannot read {file}: {error}") from error
    if not isinstance(content, dict):
        return YoloConfig()
    names = content.get("names")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(names, list):
        pairs = list(enumerate(names))
    elif isinstance(names, dict):
        pairs = list(names.items())
    return YoloConfig(
        names=_by_number(pairs),
        key_points=_key_points(file, content),
        rings_in_pixels=content.get("rings") == RINGS_IN_PIXELS,
    )


def _key_points(file: Path, content: Mapping[Any, Any]) -> tuple[int, int] | None:
    given = content.get("kpt_shape")
    if given is None:
        return None
    if (
        not isinstance(given, list)
        or len(given) != 2
        or not all(type(each) is int for each in given)
        or given[0] < 1
        or given[1] not in (2, 3)
    ):
        raise AnnotationError(
            f"{file} has kpt_shape {given!r}: it must be [number of key points, 2 or 3]"
        )
    return given[0], given[1]


def _by_number(pairs: list[tuple[Any, Any]]) -> dict[int, str]:
    found = {}
    for number, name in pairs:
        label = text(name)
        if label is not None and isinstance(number, int | str) and str(number).isdecimal():
            found[int(number)] = label
    return found
