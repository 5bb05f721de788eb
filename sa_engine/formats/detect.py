"""Which format an annotation source has, told by all files of a folder, and opening it."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.joined import JoinedSource
from sa_engine.formats.readers.label_images import map_files
from sa_engine.formats.recognise import Finding, recognise
from sa_engine.formats.registry import ONE_FILE, OPENERS, Format
from sa_engine.formats.work.settings import WORK_JSON

_SAMPLES = 500
"""Files of a suffix whose content is looked at, evenly spread over all of them."""

_LOOKED_INTO = frozenset({".json", ".xml", ".txt", ".tar", ".csv"})
_BESIDE = frozenset({".yaml", ".yml", ".names", ".data"})
"""Files that lie beside labels; they count where nothing else tells the format."""

_OF_THE_SAME_IMAGES = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
"""How COCO's files are called that lie beside `instances_*.json`."""

_MOST_SHARE = 0.9
"""Share of the files of a format with a file per image from which others do not count."""

_TEXT_FILE = (
    "{path} is a text file, which says nothing of where its images lie: for YOLO give the data "
    "set's folder or its data.yaml, for other formats the annotation file or folder"
)
_NAMES = ", ".join(each.value for each in Format)


@dataclass(slots=True)
class Evidence:
    """What a folder's files say of its format.

    files: of each format, those that are of it, by name.
    suffixes: how many files there are of each.
    hints: of files that look like annotations of a kind that is not read.
    """

    files: dict[Format, list[Path]] = field(default_factory=dict)
    suffixes: Counter[str] = field(default_factory=Counter)
    hints: list[str] = field(default_factory=list)

    def add(self, path: Path, finding: Finding) -> None:
        """Count a file."""
        if finding.format is not None:
            self.files.setdefault(finding.format, []).append(path)
        elif finding.hint:
            self.hints.append(f"{path.name} is {finding.hint}")


def open_annotations(path: Path, kind: Format) -> AnnotationSource:
    """Open a source of a known format.

    Raises UsageError if there is nothing, AnnotationError if it is not of that format.
    """
    _check_exists(path)
    if kind is Format.YOLO_SEG and path.suffix.lower() == ".txt":
        raise UsageError(_TEXT_FILE.format(path=path))
    if kind not in ONE_FILE or not path.is_dir():
        return OPENERS[kind](path)
    found = weigh(path).files
    kinds = {Format.COCO, Format.LVIS} if kind in (Format.COCO, Format.LVIS) else {kind}
    files = sorted(file for each in kinds for file in found.get(each, ()))
    if not files:
        raise UsageError(
            f"{path} has no {kind.value} file: name the one that holds the annotations"
        )
    chosen = files
    if any(file.name.startswith("instances") for file in files):
        chosen = [file for file in files if not file.name.startswith(_OF_THE_SAME_IMAGES)]
    parts = {file: OPENERS[kind](file) for file in chosen}
    _check_apart(path, parts)
    passed_over = [file for file in files if file not in chosen]
    if len(parts) == 1 and not passed_over:
        return next(iter(parts.values()))
    return JoinedSource(path, parts, passed_over)


def detect_format(path: Path) -> Format:
    """The format of a file or folder, told by its files. UsageError if it cannot be told."""
    _check_exists(path)
    if path.is_file():
        if path.suffix.lower() == ".txt":
            raise UsageError(_TEXT_FILE.format(path=path))
        finding = recognise(path)
        if finding.format is not None:
            return finding.format
        said = f": it is {finding.hint}" if finding.hint else ""
        raise UsageError(f"cannot tell the format of {path}{said}: say it with --format ({_NAMES})")
    by_form = _of_folders(path)
    if by_form is not None:
        return by_form
    evidence = weigh(path)
    kinds = _weighty(evidence)
    if len(kinds) == 1:
        return kinds[0]
    raise UsageError(
        f"cannot tell the format of {path}: {_seen(evidence)}: give the annotation file or its "
        f"folder, or say it with --format ({_NAMES})"
    )


def weigh(path: Path) -> Evidence:
    """What the files below a folder say of its format. Hidden ones are passed over."""
    by_suffix: dict[str, list[Path]] = {}
    for file in _files(path):
        by_suffix.setdefault(file.suffix.lower(), []).append(file)
    evidence = Evidence()
    for suffix, files in by_suffix.items():
        evidence.suffixes[suffix or "files without a suffix"] = len(files)
        if suffix == ".mat":
            evidence.files[Format.BSDS] = files
        elif suffix in _LOOKED_INTO:
            for file in _spread(files, _SAMPLES):
                if file.name != "classes.txt":
                    evidence.add(file, recognise(file))
    for suffix in _BESIDE & by_suffix.keys() if not evidence.files else ():
        for file in by_suffix[suffix]:
            evidence.add(file, recognise(file))
    is_told = bool(evidence.files or evidence.hints)
    if ".png" in by_suffix and (not is_told or ((path / "masks").is_dir() and not evidence.files)):
        pngs = [Path(file.path) for file in map_files(path)]
        found = [recognise(file) for file in _spread(pngs, 20)]
        if 2 * sum(each.format is Format.MASKS for each in found) > len(found):
            evidence.files[Format.MASKS] = pngs
        else:
            evidence.hints += [f"{pngs[0].name} is {found[0].hint}"] if found[0].hint else []
    return evidence


def _of_folders(path: Path) -> Format | None:
    """The formats that are told by the names of folders, and a WORK by its file."""
    if (path / WORK_JSON).is_file():
        return Format.ANNOTATE
    for name in ("SegmentationObject", "SegmentationClass"):
        if path.name == name or (path / name).is_dir():
            return Format.VOC
    annotations = path if path.name == "Annotations" else path / "Annotations"
    if (annotations.parent / "JPEGImages").is_dir() and annotations.is_dir():
        return Format.DAVIS if any(annotations.rglob("*.png")) else None
    return None


def _weighty(evidence: Evidence) -> list[Format]:
    """The formats that the folder may be of."""
    files = dict(evidence.files)
    if Format.LVIS in files and Format.COCO in files:
        files[Format.COCO] += files.pop(Format.LVIS)
    if len(files) < 2:
        return list(files)
    total = sum(map(len, files.values()))
    for kind, own in files.items():
        others = {each for each in files if each is not kind}
        # One file of these formats speaks of many images, so that numbers say nothing.
        if kind not in ONE_FILE and not others & ONE_FILE and len(own) >= _MOST_SHARE * total:
            return [kind]
    return list(files)


def _seen(evidence: Evidence) -> str:
    """What was found, in words."""
    if evidence.files:
        found = [
            f"{len(files)} of {kind.value} ({files[0].name}{', …' if len(files) > 1 else ''})"
            for kind, files in evidence.files.items()
        ]
        return "it has files of several formats, " + " and ".join(found)
    counts = [f"{count} {suffix}" for suffix, count in evidence.suffixes.most_common(4)]
    seen = f"it has {', '.join(counts)}, none of a known format" if counts else "it has no files"
    return "; ".join([seen, *evidence.hints[:2]])


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"there is no {path}: give an existing file or folder")


def _check_apart(root: Path, parts: dict[Path, AnnotationSource]) -> None:
    """Files that list the same images may be two states of one."""
    seen: dict[tuple[Path, str | None, str], Path] = {}
    for path, part in parts.items():
        for image in part.images:
            key = (path.parent, image.subset, image.file_name)
            other = seen.setdefault(key, path)
            if other != path:
                names = " and ".join(each.relative_to(root).as_posix() for each in (other, path))
                raise UsageError(
                    f"{root} has several annotation files, and {names} both list "
                    f"{image.file_name}: name the one that holds the annotations"
                )


def _spread(files: Sequence[Path], most: int) -> list[Path]:
    step = max(1, len(files) / most)
    return [files[int(place * step)] for place in range(min(most, len(files)))]


def _files(path: Path) -> Iterator[Path]:
    """Files below a folder, sorted within each folder."""
    try:
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield Path(folder) / name
    except OSError as error:
        raise AnnotationError(f"cannot read {path}: {error.strerror or error}") from error
