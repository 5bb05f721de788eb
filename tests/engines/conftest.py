"""Real engines; where there is none the tests say why, and in CI they fail."""

import os
from collections.abc import Iterator

import pytest

from tests.cli.conftest import ROOT, small_model
from tests.support.raylets import RayCluster, running_ray, why_no_ray
from tests.support.slurm import Slurm, running_slurm, why_no_slurm

__all__ = ["small_model"]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    _skip_or_fail(why_no_slurm())
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def ray_cluster() -> Iterator[RayCluster]:
    _skip_or_fail(why_no_ray())
    with running_ray(PYTHONPATH=str(ROOT)) as cluster:
        yield cluster


def _skip_or_fail(why: str) -> None:
    if why and os.environ.get("CI"):
        pytest.fail(why)
    if why:
        pytest.skip(why)
