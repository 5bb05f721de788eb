"""Reading JSON piece by piece, across the borders of the window."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_engine.errors import AnnotationError
from sa_engine.formats.codecs import jsonfile
from sa_engine.formats.codecs.jsonfile import JsonFile

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of a few bytes, so that every value crosses its border."""
    monkeypatch.setattr(jsonfile, "_WINDOW", 5)


def write(folder: Path, data: bytes) -> JsonFile:
    path = folder / "file.json"
    path.write_bytes(data)
    return JsonFile(path)


def test_arrays_come_element_by_element(tmp_path: Path) -> None:
    file = write(tmp_path, b'{"a": [1, {"b": 234567}, "x"], "c": {"d": []}, "e": [ ]}\n')

    found = [(e.key, e.in_array, e.value) for e in file.elements()]
    assert found == [
        ("a", True, 1),
        ("a", True, {"b": 234567}),
        ("a", True, "x"),
        ("c", False, {"d": []}),
        # An empty array has no elements, but its member is there.
        ("e", False, []),
    ]
    assert file.outermost() == "{"


def test_an_element_can_be_read_again_alone(tmp_path: Path) -> None:
    content = [{"name": "Käse"}, 12345678, ["x", None]]
    file = write(tmp_path, json.dumps(content, ensure_ascii=False).encode())
    spans = [element.span for element in file.elements()]
    again = pickle.loads(pickle.dumps(file))

    assert [again.value(span)[0] for span in spans] == content


@given(st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_file_is_read_whole(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        text = json.dumps(content).encode()
    file = write(tmp_path_factory.getbasetemp(), text)

    found: Any = [] if isinstance(content, list) else {}
    for element in file.elements():
        assert file.value(element.span)[0] == element.value
        if isinstance(content, list):
            found.append(element.value)
        elif element.in_array:
            found.setdefault(element.key, []).append(element.value)
        else:
            found[element.key] = element.value
    if not isinstance(content, list):
        found = {**{k: v for k, v in content.items() if v == []}, **found}
    assert found == content


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_anything_else_is_an_annotation_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    try:
        file = write(tmp_path_factory.getbasetemp(), data)
        list(file.elements())
    except AnnotationError as error:
        assert "file.json" in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": [1, 2', "ends too early, at byte 11"),
        (b'{"a": "xyz', "ends too early, at byte 10"),
        (b'{"a": 1} x', "is not JSON at byte 9: expected the end of the file"),
        (b"{1: 2}", "expected a name in quotes"),
        (b'{"a" 2}', "is not JSON at byte 5: expected :"),
        (b'"text"', "is not JSON at byte 0: expected {"),
        (b"[" * 5000, "is not JSON"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON"),
        (b"\xff\xfe\x00", "is not the utf-16 that it says it is"),
    ],
)
def test_where_it_goes_wrong(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        list(write(tmp_path, data).elements())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="No such file"):
        JsonFile(tmp_path / "none.json")
