"""The names that `sa_engine` offers: all there, none heavy until it is used."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sa_engine

ROOT = Path(__file__).resolve().parents[1]
NAMES = [name for name in sa_engine.__all__ if name != "__version__"]


def test_every_public_name_is_the_one_of_its_module() -> None:
    assert sorted(sa_engine.__all__) == sa_engine.__all__
    assert set(NAMES) == set(sa_engine._HOMES)
    for name in NAMES:
        found = getattr(sa_engine, name)
        assert found is getattr(importlib.import_module(sa_engine._HOMES[name]), name)
        assert found.__doc__, name
        assert name in dir(sa_engine)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'mask_generator'"):
        sa_engine.mask_generator  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, sa_engine\n"
        "sys.exit(str({'torch', 'numpy', 'cv2', 'pyarrow', 'PIL'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_its_types_are_for_others_to_check_against() -> None:
    assert (ROOT / "sa_engine" / "py.typed").is_file()
