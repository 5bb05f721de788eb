"""From the file names that annotations give to files of the image folder, and never outside it.

Names come from other machines and other people: with backslashes, absolute, with "..", without an
ending, or with the folder left out. A name is only ever compared with what was listed in the image
folder; it is never opened.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sa_engine.dataset.sources.source_list import SourceList, label
from sa_engine.formats.base import ListedImage
from sa_engine.formats.reasons import Loss, Repair

_DRIVE = re.compile(r"^[a-zA-Z]:")
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*/?")


@dataclass(frozen=True, slots=True)
class Found:
    """An image of the folder: its position in the listing, and what was repaired about its name."""

    position: int
    repairs: tuple[Repair, ...] = ()


class ImageNames:
    """The names of an image folder's files, to look up names of annotations in.

    subsets: of all images that will be looked up. An image of a subset is looked for in the folders
        of that name if there are any, and never in those of other subsets.
    """

    def __init__(self, listing: SourceList, subsets: frozenset[str] = frozenset()) -> None:
        self._subsets = frozenset(subset.lower() for subset in subsets)
        self._names = [_inside_tar(label(name)) for name in listing.names.to_pylist()]
        self._by_name = {name: position for position, name in enumerate(self._names)}

    def __len__(self) -> int:
        return len(self._names)

    def find(self, image: ListedImage) -> Found | Loss:
        """The file that an annotation source means.

        Tried in this order for each of its names: the whole name; the name without leading
        folders; names in sub-folders whose last part is the same, of which the one that shares
        most of its folders is taken, if it is alone in that. Last, the names that any ending fits.
        """
        found: Found | Loss = Loss.IMAGE_MISSING
        names = [(name, False) for name in (image.file_name, *image.other_names)]
        for name, any_ending in [*names, *((name, True) for name in image.any_ending)]:
            parts, is_unsafe = _parts(name)
            if not parts:
                continue
            position = self._look_up(parts, any_ending, image.subset)
            if isinstance(position, int):
                return Found(position, (Repair.UNSAFE_NAME,) if is_unsafe else ())
            if position is Loss.IMAGE_AMBIGUOUS:
                found = position
        return found

    def name(self, position: int) -> str:
        """The name of the file at a position of the listing."""
        return self._names[position]

    def like(self, image: ListedImage) -> list[str]:
        """The names of files whose last part is an image's."""
        for name in (image.file_name, *image.other_names):
            parts, _ = _parts(name)
            if parts and parts[-1] in self._by_last:
                return [self._names[position] for position in self._by_last[parts[-1]]]
        stems = [_parts(name)[0][-1:] for name in image.any_ending]
        return [self._names[p] for stem in stems for s in stem for p in self._by_stem.get(s, ())]

    def _look_up(self, parts: Sequence[str], any_ending: bool, subset: str | None) -> int | Loss:
        exact = None if any_ending else self._by_name.get("/".join(parts))
        if exact is not None and self._may_hold(exact, subset):
            return exact
        index = self._by_stem if any_ending else self._by_last
        candidates = [p for p in index.get(parts[-1], []) if self._may_hold(p, subset)]
        shared = [self._shared_folders(position, parts) for position in candidates]
        best = [p for p, s in zip(candidates, shared, strict=True) if s == max(shared)]
        if len(best) == 1:
            return best[0]
        return Loss.IMAGE_AMBIGUOUS if best else Loss.IMAGE_MISSING

    def _may_hold(self, position: int, subset: str | None) -> bool:
        """Whether an image of a subset may be the file at a position."""
        if subset is None:
            return True
        folders = {part.lower() for part in self._names[position].split("/")[:-1]}
        wanted = subset.lower()
        return wanted in folders if wanted in self._folders else not folders & self._subsets

    @cached_property
    def _folders(self) -> frozenset[str]:
        """The names of all folders, in lower case."""
        paths = {name.rpartition("/")[0].lower() for name in self._names}
        return frozenset(part for path in paths for part in path.split("/") if part)

    @cached_property
    def _by_last(self) -> dict[str, list[int]]:
        """Positions by the last part of the name."""
        index: dict[str, list[int]] = {}
        for position, name in enumerate(self._names):
            index.setdefault(name.rpartition("/")[2], []).append(position)
        return index

    @cached_property
    def _by_stem(self) -> dict[str, list[int]]:
        """Positions by the last part of the name without its ending."""
        index: dict[str, list[int]] = {}
        for name, positions in self._by_last.items():
            index.setdefault(name.rpartition(".")[0], []).extend(positions)
        return index

    def _shared_folders(self, position: int, parts: Sequence[str]) -> tuple[int, int]:
        """Folders in common, counted from the file up; of equals, the one nearer the top."""
        folders = self._names[position].split("/")[:-1]
        wanted = list(parts[:-1])
        shared = 0
        while (
            shared < min(len(folders), len(wanted)) and folders[-1 - shared] == wanted[-1 - shared]
        ):
            shared += 1
        return shared, -len(folders)


def safe_parts(name: str) -> list[str]:
    """A name's folders and last part; the last part alone if it is absolute or climbs."""
    parts, _ = _parts(name)
    return [part.replace("\0", "") for part in parts]


def _parts(name: str) -> tuple[list[str], bool]:
    """A name's folders and last part, and whether it is absolute or climbs out of its folder.

    Of such a name only the last part is given.
    """
    path = _SCHEME.sub("", name).split("?")[0] if _SCHEME.match(name) else name
    path = path.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    is_unsafe = path.startswith("/") or bool(_DRIVE.match(path)) or ".." in parts
    if is_unsafe:
        parts = [part for part in parts[-1:] if part != ".." and not _DRIVE.match(part)]
    return parts, is_unsafe


def _inside_tar(name: str) -> str:
    archive, mark, member = name.partition(".tar!")
    return member if mark else archive
