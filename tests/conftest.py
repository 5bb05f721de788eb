"""Fixtures that every folder of tests may use."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research photographs with masks; tests that need it skip without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("research data is not at hand")
    return SHARED_DATA
