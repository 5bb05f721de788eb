"""Datasets and packs by name."""

from pathlib import Path

import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.training.data.pack import PackConfig, write_pack
from sa_engine.training.data.sets import open_sets
from tests.support.scene_datasets import write_scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sets")
    write_scenes(made / "cats", range(2))
    write_scenes(made / "dogs", range(4, 6))
    weights = {"dogs": 5.0, "manual": 2.0}
    write_pack(
        {"dogs": Dataset(made / "dogs")},
        made / "train.pack",
        config=PackConfig(),
        weights=weights,
    )
    return made


def test_a_pack_stands_beside_a_dataset(folder: Path):
    opened = open_sets([folder / "cats", folder / "train.pack"], {"cats": 7.0})
    assert list(opened.sets) == ["cats", "dogs"]
    assert opened.weights == {"cats": 7.0, "dogs": 5.0}
    assert opened.stages == {Stage.MANUAL: 2.0}


def test_a_weight_that_is_given_counts_before_the_pack_s(folder: Path):
    opened = open_sets([folder / "train.pack"], {"dogs": 1.0, "manual": 3.0})
    assert opened.weights == {"dogs": 1.0}
    assert opened.stages == {Stage.MANUAL: 3.0}


def test_names_are_unique(folder: Path):
    with pytest.raises(UsageError, match="two datasets have the name dogs"):
        open_sets([folder / "dogs", folder / "train.pack"], {})


def test_weights_are_checked(folder: Path):
    with pytest.raises(UsageError, match=r"'birds', which is neither .* there are .*cats"):
        open_sets([folder / "cats"], {"birds": 2.0})
    for number in (-1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match=r"--weight cats=.*give a number of at least 0"):
            open_sets([folder / "cats"], {"cats": number})
