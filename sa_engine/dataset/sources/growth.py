"""How a list of images differs from the one that is frozen in a dataset: it may grow.

Ids are places in the frozen list, so old images keep their places and new ones come after them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.source_list import Source, SourceList, one_array


@dataclass(frozen=True, slots=True)
class ListChange:
    """What has become of a frozen list.

    grown: the old images in their places and the new ones after them; None if there are no new
        ones. Images that have vanished keep their places; they fail as missing.
    problem: why the dataset cannot continue the other list, for people; "" if it can.
    """

    grown: SourceList | None = None
    problem: str = ""


def list_change(folder: Folder, sources: Sequence[Source]) -> ListChange:
    """Hold a list against the frozen one."""
    there, here = FrozenInputs(folder).all(), SourceList.of(sources)
    if there.root != here.root:
        roots = f"{os.fsdecode(there.root)}, now {os.fsdecode(here.root)}"
        return ListChange(problem=f"its images were listed from {roots}")
    positions = pc.index_in(there.names, value_set=one_array(here.names))
    is_listed = np.asarray(pc.is_valid(positions))
    gone = there.take(np.flatnonzero(~is_listed))
    kept = [source.name for source in gone if not _has_vanished(source)][:1]
    if len(there) and not is_listed.any():
        return ListChange(problem=f"none of its {len(there)} images is among those given now")
    if kept:
        count = f"{len(gone)} of its {len(there)} images are not among the {len(here)} given now"
        return ListChange(problem=f"{count}, {kept[0]!r} among them")
    same = here.take(np.asarray(positions.drop_null()).astype(np.int64))
    if same.digest() != there.take(np.flatnonzero(is_listed)).digest():
        return ListChange(problem="some of its images lie elsewhere now, under the same names")
    is_new = ~np.asarray(pc.is_in(here.names, value_set=one_array(there.names)))
    if not is_new.any():
        return ListChange()
    return ListChange(grown=there.followed_by(here.take(np.flatnonzero(is_new))))


def _has_vanished(source: Source) -> bool:
    """Whether a local file is not there any more.

    What a store or an archive holds is not looked for one by one.
    """
    if "://" in source.uri or source.tar_offset is not None:
        return False
    return not os.path.lexists(source.uri)
