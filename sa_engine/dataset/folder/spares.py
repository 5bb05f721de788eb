"""Second copies of the two files that nothing else in a dataset could restore: the manifest and the
frozen list of its images. Both are small beside the shards.
"""

from collections.abc import Iterator

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.folder.layout import SPARE_INPUTS, SPARE_MANIFEST
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.manifest import MANIFEST_NAME, read_manifest
from sa_engine.dataset.shards.check import Problem
from sa_engine.dataset.shards.finished import file_sum
from sa_engine.dataset.sources.frozen import INPUTS_NAME
from sa_engine.errors import DamagedError, UsageError


def spare_problems(folder: Folder) -> Iterator[Problem]:
    """What is wrong with the copies of a manifest and a list that are whole themselves.

    Datasets of engines that wrote no copies have none, which is no problem.
    """
    names = {SPARE_MANIFEST: MANIFEST_NAME, SPARE_INPUTS: INPUTS_NAME}
    found = {name: file_sum(folder, name) for name in names}
    if not any(found.values()):
        return
    for name, original in names.items():
        if found[name] is None:
            yield Problem(name, "missing", f"the second copy of {original} is not there")
        elif found[name] != file_sum(folder, original):
            yield Problem(name, "checksum", f"it is not what {original} is")


def restore_from_spares(folder: Folder) -> list[str]:
    """Put damaged or lost ones of the four files right from their other copies; which they were.

    What has no whole copy stays as it is. Raises DatasetError if the folder cannot be written.
    """
    restored = []
    spare = _sealed(folder, SPARE_MANIFEST)
    if _sealed(folder, MANIFEST_NAME) is None and spare is not None:
        folder.write(MANIFEST_NAME, spare)
        restored.append(MANIFEST_NAME)
    try:
        manifest = read_manifest(folder)
    except (DamagedError, UsageError):
        return restored
    sums = {name: file_sum(folder, name) for name in (INPUTS_NAME, SPARE_INPUTS)}
    whole = {name for name, each in sums.items() if each and each.sha256 == manifest.inputs_sha256}
    has_spares = spare is not None or sums[SPARE_INPUTS] is not None
    if len(whole) == 1 and (has_spares or INPUTS_NAME not in whole):
        (source,) = whole
        target = SPARE_INPUTS if source == INPUTS_NAME else INPUTS_NAME
        folder.write(target, folder.read(source))
        restored.append(target)
    if spare != (original := folder.read(MANIFEST_NAME)) and has_spares:
        folder.write(SPARE_MANIFEST, original)
        restored.append(SPARE_MANIFEST)
    return restored


def _sealed(folder: Folder, name: str) -> bytes | None:
    """A sealed file that is whole; None if it is not, or not there."""
    try:
        data = folder.read(name)
        unseal(data, name=name)
    except (OSError, DamagedError):
        return None
    return data
