"""What is wrong with a file to be written is found before any work."""

import os
from pathlib import Path
from typing import Any

import click
import pytest

from sa_engine.cli.shared.places import DEVICE, OutFile, refuse_existing
from sa_engine.errors import UsageError


def given(kind: click.ParamType[Any], value: str) -> Any:
    return kind.convert(value, None, None)


def test_a_file_that_can_be_written(tmp_path: Path) -> None:
    kind = OutFile(".parquet", ".csv")
    for path in (tmp_path / "rows.parquet", tmp_path / "new" / "deeper" / "rows.CSV"):
        assert given(kind, str(path)) == path
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, message in (
        (".", "is a folder: name a file in it"),
        ("rows.txt", r"must end in \.parquet or \.csv"),
        ("file/rows.csv", "is a file, so there can be no"),
    ):
        with pytest.raises(click.BadParameter, match=message):
            given(OutFile(".parquet", ".csv"), str(tmp_path / name))
    with pytest.raises(click.BadParameter, match="is a URL"):
        given(OutFile(), "s3://bucket/rows.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(click.BadParameter, match="may not be written to"):
        given(OutFile(), str(tmp_path / "rows.csv"))
    tmp_path.chmod(0o700)


def test_a_file_that_is_there_is_replaced_with_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    refuse_existing(path, force=False)
    refuse_existing(None, force=False)
    path.write_text("mine")
    refuse_existing(path, force=True)
    with pytest.raises(UsageError, match="is there already: give --force"):
        refuse_existing(path, force=False)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_devices(name: str) -> None:
    assert given(DEVICE, name) == name
    with pytest.raises(click.BadParameter, match="is not one of"):
        given(DEVICE, f"x{name}")
