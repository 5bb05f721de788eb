"""Write docs/python.md: every public name's signature and docstring.

python docs/python_reference.py [FILE]
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sa_engine

TARGET = Path(__file__).with_name("python.md")
HEAD = """# In Python

Made by `make docs` from the docstrings of what `sa_engine` offers. These names are kept, as
[the changelog](../CHANGELOG.md) says of versions; whatever else the package holds may move. Each is
loaded when it is first used: `import sa_engine` loads neither torch nor numpy.
"""
WIDTH = 100
SHOWN = ("__call__", "__getitem__", "__iter__", "__len__")
"""Special methods that people use without their names."""


def signature(name: str, value: Any) -> str:
    """A callable with its parameters, one a line where they are many; types without modules."""
    found = inspect.signature(value)
    kept = [each for each in found.parameters.values() if each.name != "self"]
    text = str(found.replace(parameters=kept))
    text = re.sub(
        r"ndarray\[tuple\[typing.Any, ...\], numpy.dtype\[(\S+?)\]\]", r"NDArray[\1]", text
    )
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text).replace("<factory>", "...")
    text = re.sub(r"<function (\w+) at \w+>", r"\1", text)
    if len(name + text) <= WIDTH:
        return f"{name}{text}"
    inside, end = text[1 : text.rindex(")")], text[text.rindex(")") :]
    parts = re.split(r", (?=\*?\*?\w+:|\*,)|(?<=\*), ", inside)
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), end])


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties of a class that are its own and public, in the order of the source."""
    for name, value in vars(kind).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        is_field = dataclasses.is_dataclass(kind) and name in {
            each.name for each in dataclasses.fields(kind)
        }
        usable = inspect.isfunction(function) or isinstance(function, property)
        if usable and not is_field and (not name.startswith("_") or name in SHOWN):
            yield name, function


def entry(name: str, value: Any) -> str:
    """What there is to read of one name."""
    heading = f"## {name}\n\n```python\n"
    doc = inspect.getdoc(value) or ""
    if not inspect.isclass(value):
        return f"{heading}{signature(name, value)}\n```\n\n```text\n{doc}\n```\n"
    is_error = issubclass(value, BaseException)
    lines = [f"{heading}{name if is_error else signature(name, value)}\n```\n"]
    lines.append(f"```text\n{doc}\n```\n")
    for member, function in members(value):
        text = inspect.getdoc(function) or ""
        if not text:
            continue
        shown = member if isinstance(function, property) else signature(member, function)
        lines.append(f"### {name}.{member}\n\n```python\n{shown}\n```\n\n```text\n{text}\n```\n")
    return "\n".join(lines)


def reference() -> str:
    """The whole page."""
    names = [name for name in sa_engine.__all__ if name != "__version__"]
    return "\n".join([HEAD, *(entry(name, getattr(sa_engine, name)) for name in names)])


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else TARGET).write_text(reference(), "utf-8")
