"""From the file names that annotations give to files of the image folder, and never outside it.

Names come from other machines and other people: with backslashes, absolute, with "..", without an
ending, or with the folder left out. A name is only ever compared with what was listed in the image
folder; it is never opened.

The rule: a name and a file fit if their last parts are equal, in Unicode's composed form, and no
folder before them disagrees: read from the end, one of the two runs out of folders before they
differ. Of several files the one with the longest common end is taken, if it is alone in that.
Folders that say what lies in them ("images", "labels") and not which are passed over.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sa_engine.dataset.sources.source_list import SourceList, label
from sa_engine.formats.base import ListedImage
from sa_engine.formats.reasons import Loss, Repair

_DRIVE = re.compile(r"^[a-zA-Z]:")
_SAYS_NOTHING = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "upload", "uploads"}
    | {"annotation", "annotations", "json", "jsons", "label", "labels", "mask", "masks", "data"}
)
"""Folders, in lower case, that tell files of one kind from files of another."""
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
        self._by_name = {_plain(name): position for position, name in enumerate(self._names)}

    def __len__(self) -> int:
        return len(self._names)

    def find(self, image: ListedImage) -> Found | Loss:
        """The file that an annotation source means, by the rule at the top of this module.

        Its names are tried in their order, last those that any suffix fits. A further name without
        folders stands for a file whose folders agree with those of the first name.
        """
        found: Found | Loss = Loss.IMAGE_MISSING
        names = [(name, False) for name in (image.file_name, *image.other_names)]
        stated = _parts(image.file_name)[0][:-1]
        for name, any_ending in [*names, *((name, True) for name in image.any_ending)]:
            parts, is_unsafe = _parts(name)
            if not parts:
                continue
            folders = parts[:-1] or stated
            position = self._look_up(folders, parts[-1], any_ending, image.subset)
            if isinstance(position, int):
                return Found(position, (Repair.UNSAFE_NAME,) if is_unsafe else ())
            if position is Loss.IMAGE_AMBIGUOUS:
                found = position
        return found

    def hint(self, image: ListedImage) -> str | None:
        """The file that an image which is not found may be, and how their names differ."""
        for name in (image.file_name, *image.other_names, *image.any_ending):
            parts, _ = _parts(name)
            for position in self._by_folded.get(parts[-1].casefold(), ()) if parts else ():
                there = self._names[position]
                folders = [part.casefold() for part in there.split("/")[:-1]]
                if _common_end(folders, [part.casefold() for part in parts[:-1]]) is None:
                    return f"{there} is in another folder"
                if _plain(there.rpartition("/")[2]) != parts[-1]:
                    return f"{there} differs in upper and lower case"
        return None

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

    def _look_up(
        self, folders: Sequence[str], last: str, any_ending: bool, subset: str | None
    ) -> int | Loss:
        exact = None if any_ending else self._by_name.get("/".join((*folders, last)))
        if exact is not None and self._may_hold(exact, subset):
            return exact
        index = self._by_stem if any_ending else self._by_last
        best: list[int] = []
        most = (-1, -1, False)
        for position in index.get(last, ()):
            there = _plain(self._names[position]).split("/")[:-1]
            shared = _common_end(there, folders)
            if shared is None or not self._may_hold(position, subset):
                continue
            whole = _raw_common_end(there, folders)
            score = (shared, whole, whole == len(there))
            if score > most:
                best, most = [], score
            if score == most:
                best.append(position)
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
            index.setdefault(_plain(name.rpartition("/")[2]), []).append(position)
        return index

    @cached_property
    def _by_stem(self) -> dict[str, list[int]]:
        """Positions by the last part of the name without its suffix."""
        index: dict[str, list[int]] = {}
        for name, positions in self._by_last.items():
            index.setdefault(name.rpartition(".")[0], []).extend(positions)
        return index

    @cached_property
    def _by_folded(self) -> dict[str, list[int]]:
        """Positions by the last part, with its suffix and without, whatever its case."""
        index: dict[str, list[int]] = {}
        for name, positions in self._by_last.items():
            for each in dict.fromkeys((name.casefold(), name.rpartition(".")[0].casefold())):
                index.setdefault(each, []).extend(positions)
        return index


def _common_end(there: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Folders in common, counted from the file up; None if one disagrees."""
    ours, theirs = _telling(there), _telling(wanted)
    shared = _raw_common_end(ours, theirs)
    return shared if shared == min(len(ours), len(theirs)) else None


def _raw_common_end(there: Sequence[str], wanted: Sequence[str]) -> int:
    shared = 0
    for ours, theirs in zip(reversed(there), reversed(wanted), strict=False):
        if ours != theirs:
            break
        shared += 1
    return shared


def _telling(folders: Sequence[str]) -> list[str]:
    return [part for part in folders if part.lower() not in _SAYS_NOTHING]


def safe_parts(name: str) -> list[str]:
    """A name's folders and last part; the last part alone if it is absolute or climbs."""
    parts, is_unsafe = _parts(name)
    return [part.replace("\0", "") for part in (parts[-1:] if is_unsafe else parts)]


def _parts(name: str) -> tuple[list[str], bool]:
    """A name's folders and last part, and whether it is absolute or climbs out of its folder."""
    path = _SCHEME.sub("", name).split("?")[0] if _SCHEME.match(name) else name
    path = path.replace("\\", "/")
    is_unsafe = path.startswith("/") or bool(_DRIVE.match(path))
    parts: list[str] = []
    for part in _DRIVE.sub("", _plain(path)).split("/"):
        if part == "..":
            is_unsafe = True
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if path.endswith(("/..", "/.")) or path in ("..", "."):
        return [], is_unsafe
    return parts, is_unsafe


def _plain(name: str) -> str:
    """A name in Unicode's composed form, as which names of all systems are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _inside_tar(name: str) -> str:
    archive, mark, member = name.partition(".tar!")
    return member if mark else archive
