"""The control groups of this process, in which a scheduler or a container limits it.

Source: the kernel's documentation, Admin Guide, "Control Group v2" and "Control Groups version 1".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Where control groups are mounted, and the file that names those of this process."""

    mount: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def folders(self, controller: str) -> Iterator[tuple[int, Path]]:
        """(version, folder) of the groups of a controller: the own one, then those around it.

        In a container the file may name the group as the host sees it, while its own is mounted as
        the root: a folder need not be there. None where the system has no control groups.
        """
        try:
            lines = self.own.read_text("utf-8").splitlines()
        except OSError:
            return
        for line in lines:
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0" and not controllers:
                yield from ((2, folder) for folder in _upwards(self.mount, path))
            elif controller in controllers.split(","):
                for name in dict.fromkeys((controller, controllers)):
                    yield from ((1, folder) for folder in _upwards(self.mount / name, path))


def _upwards(root: Path, path: str) -> list[Path]:
    folder = root / path.strip("/")
    return [folder, *(each for each in folder.parents if each.is_relative_to(root))]
