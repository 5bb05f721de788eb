"""Finding any damage to a dataset: every byte is under a checksum, every record under the rules."""

import os
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from sa_engine.dataset.folder.base import Folder, open_folder, sha256_of
from sa_engine.dataset.folder.layout import HARMLESS, SPARE_INPUTS, SPARE_MANIFEST
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.folder.spares import spare_problems
from sa_engine.dataset.manifest import MANIFEST_NAME, Manifest, read_manifest
from sa_engine.dataset.shards.check import Problem, ShardCheck
from sa_engine.dataset.shards.stats import (
    FileSum,
    parquet_name,
    read_stats,
    stats_name,
    tar_name,
)
from sa_engine.dataset.sources.frozen import INPUTS_NAME, FrozenInputs
from sa_engine.dataset.sources.source_list import SourceList
from sa_engine.errors import DamagedError, DatasetError

REPORT_NAME = "import-report.json"
"""The file beside the shards of an import that tells how they were made."""


__all__ = ["Problem", "damaged_shards", "verify"]


def verify(
    path: str | os.PathLike[str],
    *,
    deep: bool = True,
    pixels: bool = False,
    shards: Iterable[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Every problem of a dataset, in the order of its files; an empty list if there is none.

    deep: besides all checksums, check tar against Parquet, each JSON, that RLE decodes, boxes and
        areas agree with masks, ids, and counts.
    pixels: besides, decode every stored image and hold it against its source, see `pixel_check`.
    shards: look at these shards alone; None for all of them, and for files that do not belong.
    progress: called with (shards done, shards in all).

    Raises UsageError if there is no dataset, DatasetError if another format version wrote it.
    """
    folder = open_folder(path)
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        return [Problem(MANIFEST_NAME, "checksum", str(error))]
    return [*_verify_all(folder, manifest, deep, pixels, shards, progress)]


def damaged_shards(problems: Iterable[Problem]) -> list[int]:
    """The shards that must be made again, in order."""
    return sorted({each.shard_index for each in problems if each.shard_index is not None})


def _verify_all(
    folder: Folder,
    manifest: Manifest,
    deep: bool,
    pixels: bool,
    shards: Iterable[int] | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Problem]:
    odd = folder.odd()
    # A folder or a link has the name of a file, and is none.
    names = set(folder.names()) - odd.keys()
    chosen = list(range(manifest.num_shards) if shards is None else shards)
    if shards is None:
        yield from _strays(names, manifest)
        for name, kind in odd.items():
            yield Problem(name, "stray", f"it is {kind}, where a dataset has files alone")
    listed = list(_verify_inputs(folder, manifest))
    yield from listed
    if shards is None and not listed:
        yield from spare_problems(folder)
    if shards is None:
        yield from _verify_report(folder, manifest, names)
    inputs = FrozenInputs(folder) if deep and not listed else None
    for count, index in enumerate(chosen, start=1):
        yield from _verify_shard(folder, manifest, index, names, inputs, deep, pixels)
        if progress is not None:
            progress(count, len(chosen))


def _strays(names: set[str], manifest: Manifest) -> Iterator[Problem]:
    known = {MANIFEST_NAME, INPUTS_NAME, SPARE_MANIFEST, SPARE_INPUTS, REPORT_NAME, *HARMLESS}
    for index in range(manifest.num_shards):
        known |= {tar_name(index), parquet_name(index), stats_name(index)}
    for name in sorted(names - known):
        yield Problem(name, "stray", "it does not belong to the dataset: move it elsewhere")


def _verify_report(folder: Folder, manifest: Manifest, names: set[str]) -> Iterator[Problem]:
    """The report of an import: the same command writes it again."""
    how = "the import that made the dataset writes it again"
    if REPORT_NAME in names:
        try:
            unseal(folder.read(REPORT_NAME), name=REPORT_NAME)
        except DamagedError as error:
            yield Problem(REPORT_NAME, "checksum", f"{error}; {how}")
    elif _is_import(manifest) and _is_complete(manifest, names):
        yield Problem(REPORT_NAME, "missing", f"an imported dataset has it; {how}")


def _is_import(manifest: Manifest) -> bool:
    return "masks-from-boxes" in manifest.options and "split" not in manifest.options


def _is_complete(manifest: Manifest, names: set[str]) -> bool:
    return all(stats_name(index) in names for index in range(manifest.num_shards))


def _verify_inputs(folder: Folder, manifest: Manifest) -> Iterator[Problem]:
    size = folder.size(INPUTS_NAME)
    if size is None:
        yield Problem(INPUTS_NAME, "missing", "the list of images is not there")
        return
    with folder.open(INPUTS_NAME) as file:
        found = sha256_of(file)
    if found != manifest.inputs_sha256:
        yield Problem(INPUTS_NAME, "checksum", f"SHA-256 is {found}, not {manifest.inputs_sha256}")
        return
    listing: SourceList = FrozenInputs(folder).all()
    if len(listing) != manifest.num_images:
        yield Problem(INPUTS_NAME, "count", f"{len(listing)} images, not {manifest.num_images}")
    elif listing.digest() != manifest.sources_sha256:
        yield Problem(INPUTS_NAME, "structure", "its content is not what the manifest was made for")


def _verify_shard(
    folder: Folder,
    manifest: Manifest,
    index: int,
    names: set[str],
    inputs: FrozenInputs | None,
    deep: bool,
    pixels: bool,
) -> Iterator[Problem]:
    if stats_name(index) not in names:
        yield Problem(stats_name(index), "missing", "the shard is not complete", index)
        return
    try:
        stats = read_stats(folder, index)
    except DatasetError as error:
        yield Problem(stats_name(index), "checksum", str(error), index)
        return
    if stats is None:
        yield Problem(stats_name(index), "missing", "the shard is not complete", index)
        return
    sums = ((tar_name(index), stats.tar), (parquet_name(index), stats.parquet))
    damaged = [problem for name, wanted in sums for problem in _sum(folder, name, wanted, index)]
    yield from damaged
    if damaged or not deep:
        return
    sources = None if inputs is None else inputs.shard(index)
    try:
        yield from ShardCheck(folder, manifest, stats, index, sources, pixels=pixels).problems()
    except (DatasetError, pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        yield Problem(parquet_name(index), "structure", f"{type(error).__name__}: {error}", index)


def _sum(folder: Folder, name: str, wanted: FileSum, index: int) -> Iterator[Problem]:
    size = folder.size(name)
    if size is None:
        yield Problem(name, "missing", "its shard's stats say that it is complete", index)
        return
    if size != wanted.num_bytes:
        yield Problem(name, "checksum", f"{size} bytes, not {wanted.num_bytes}", index)
        return
    with folder.open(name) as file:
        found = sha256_of(file)
    if found != wanted.sha256:
        yield Problem(name, "checksum", f"SHA-256 is {found}, not {wanted.sha256}", index)
