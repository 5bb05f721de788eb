"""Tables of a TOML file, read key by key: what is missing, misspelt or of another type is named."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sa_engine.errors import UsageError

_VARIABLE = re.compile(r"\{(\w+)\}")


class Table:
    """One table. Every key that is asked for counts as known; `finish` refuses the others.

    where: how messages name it, as "[[round]] 2 ('semi')".
    variables: what "{name}" in a text stands for.
    folder: that relative paths are relative to.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        where: str,
        *,
        folder: Path,
        variables: Mapping[str, str],
    ) -> None:
        self._values = values
        self.where = where
        self._folder = folder
        self._variables = variables
        self._known: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text, its variables filled in; the default if the key is missing."""
        value = self._take(key, str, "a text")
        return default if value is None else self.fill(key, value)

    def needed_text(self, key: str) -> str:
        """A text that must be there."""
        value = self.text(key)
        if value is None:
            raise UsageError(f'{self.where} needs {key!r}: add {key} = "..."')
        return value

    def choice(self, key: str, choices: Iterable[str], default: str | None = None) -> str:
        """One of some texts; without a default it must be there."""
        value = self.needed_text(key) if default is None else self.text(key, default)
        known = list(choices)
        if value not in known:
            raise UsageError(
                f"{self.where}: {key} is {value!r}{hint(value or '', known)}; "
                f"there are {', '.join(known)}"
            )
        return value

    def path(self, key: str) -> Path | None:
        """A path that must exist on disk; None if the key is missing."""
        path = self.new_path(key)
        if path is not None and not path.exists():
            raise UsageError(f"{self.where}: there is no {path} (key {key!r}): correct the path")
        return path

    def new_path(self, key: str) -> Path | None:
        """A path that may not exist yet; None if the key is missing."""
        value = self.text(key)
        return None if value is None else self.resolve(value)

    def paths(self, key: str) -> tuple[Path, ...]:
        """A list of paths that must exist; empty if the key is missing."""
        found = tuple(self.resolve(value) for value in self.texts(key) or ())
        for path in found:
            if not path.exists():
                raise UsageError(f"{self.where}: there is no {path} (key {key!r})")
        return found

    def images(self, key: str) -> str | None:
        """A listing of images (see `list_sources`); None if the key is missing."""
        value = self.text(key)
        if value is None:
            return None
        path = self.resolve(value)
        if not any(sign in value for sign in "*?[") and not path.exists():
            raise UsageError(f"{self.where}: there is no {path} (key {key!r}): correct the path")
        return str(path)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts; a lone text counts as a list of one."""
        value = self._take(key, (list, str), "a list of texts")
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in items):
            raise UsageError(f"{self.where}: {key} is {value!r}, it must be a list of texts")
        return tuple(self.fill(key, item) for item in items)

    def integer(self, key: str, default: int | None = None, *, least: int = 0) -> int | None:
        """A whole number of at least `least`."""
        value = self._take(key, int, "a whole number")
        if value is not None and value < least:
            raise UsageError(f"{self.where}: {key} is {value}, it must be at least {least}")
        return default if value is None else int(value)

    def number(self, key: str, default: float, *, least: float = 0.0, most: float = 1e18) -> float:
        """A number from `least` to `most`."""
        value = self._take(key, (int, float), "a number")
        found = default if value is None else float(value)
        if not least <= found <= most:
            raise UsageError(f"{self.where}: {key} is {found:g}, it must be {_range(least, most)}")
        return found

    def weights(self, key: str) -> dict[str, float]:
        """A table of numbers of at least 0 by name."""
        table = self.table(key)
        if table is None:
            return {}
        return {name: table.number(name, 0.0) for name in table.names()}

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of these keys as they are; those that are not given are left out."""
        found = {}
        for name in names:
            self._known[name] = None
            if name in self._values:
                value = self._values[name]
                found[name] = self.fill(name, value) if isinstance(value, str) else value
        return found

    def table(self, key: str) -> "Table | None":
        """A table within this one; None if the key is missing."""
        value = self._take(key, dict, "a table")
        return None if value is None else self._inner(value, f"{self.where}, {key}")

    def tables(self, key: str) -> list["Table"]:
        """The tables of an array; each is named by its own "name", if it has one."""
        value = self._take(key, list, f"an array of tables, [[{key}]]") or []
        if not all(isinstance(item, dict) for item in value):
            raise UsageError(f"{self.where}: {key} must be an array of tables, [[{key}]]")
        inside = "" if self.where.endswith(".toml") else f"{self.where}, "
        return [
            self._inner(item, f"{inside}[[{key}]] {place}{_called(item)}")
            for place, item in enumerate(value, start=1)
        ]

    def names(self) -> Sequence[str]:
        """Every key that the table has."""
        return list(self._values)

    def fill(self, key: str, value: str) -> str:
        """A text with its variables filled in. UsageError for one that is not declared."""

        def stand_in(found: re.Match[str]) -> str:
            name = found[1]
            if name not in self._variables:
                raise UsageError(
                    f"{self.where}: {key} names the variable {{{name}}}, which is not declared"
                    f"{hint(name, self._variables)}: add it under [variables]"
                )
            return self._variables[name]

        return _VARIABLE.sub(stand_in, value)

    def resolve(self, value: str) -> Path:
        """A path of this file: relative ones are relative to the file's folder."""
        return Path(self._folder, Path(value).expanduser())

    def finish(self) -> None:
        """Refuse keys that nobody asked for, naming the one that may have been meant."""
        for key in self._values:
            if key not in self._known:
                raise UsageError(
                    f"{self.where} has an unknown key {key!r}{hint(key, self._known)}; "
                    f"known are {', '.join(sorted(self._known))}"
                )

    def _take(self, key: str, kind: Any, what: str) -> Any:
        self._known[key] = None
        value = self._values.get(key)
        if value is None:
            return None
        # In Python True is a whole number; in a config it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(f"{self.where}: {key} is {value!r}, it must be {what}")
        return value

    def _inner(self, values: Mapping[str, Any], where: str) -> "Table":
        return Table(values, where, folder=self._folder, variables=self._variables)


def read_toml(path: Path, *, given: Mapping[str, str]) -> Table:
    """A TOML file's outermost table.

    given: variables that go over those of its table "variables"; they must be declared there.

    Raises UsageError for a file that is missing or is not TOML, or for an undeclared variable.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}: give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    declared = values.get("variables", {})
    if not isinstance(declared, dict) or not all(isinstance(v, str) for v in declared.values()):
        raise UsageError(f"{path}: [variables] must hold texts")
    for name in given:
        if name not in declared:
            raise UsageError(
                f"{path} declares no variable {name!r}{hint(name, declared)}; "
                f"there are {', '.join(declared) or 'none'}"
            )
    table = Table(values, str(path), folder=path.resolve().parent, variables={**declared, **given})
    table.values(["variables"])
    return table


def hint(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'near'?)", or nothing if no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _called(item: Mapping[str, Any]) -> str:
    name = item.get("name")
    return f" ({name!r})" if isinstance(name, str) else ""


def _range(least: float, most: float) -> str:
    return f"at least {least:g}" if most >= 1e18 else f"from {least:g} to {most:g}"
