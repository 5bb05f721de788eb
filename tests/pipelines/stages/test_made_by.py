"""What made a dataset goes on making it: the arithmetic of a run that is continued."""

from pathlib import Path

import pytest
import torch

from sa_engine.dataset.manifest import Manifest, ModelRef, open_output
from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.model import device as device_module
from sa_engine.pipelines.stages.made_by import precision_of_run

CPU = torch.device("cpu")


def begin(out: Path, precision: str) -> Path:
    open_output(
        out,
        Manifest(
            stage=Stage.AUTOMATIC,
            num_images=0,
            model=ModelRef(name="any", sha256="0" * 64),
            options={"precision": precision},
        ),
        [],
    )
    return out


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_machine_with_better_hardware_goes_on_as_the_run_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    monkeypatch.setattr(device_module, "cpu_computes_bf16", lambda: has_bf16)
    assert precision_of_run("auto", CPU, tmp_path / "new") == ("bf16" if has_bf16 else "fp32")
    assert precision_of_run("auto", CPU, begin(tmp_path / "begun", "fp32")) == "fp32"
    # What is asked for stays, for the manifest to refuse.
    assert precision_of_run("fp32", CPU, begin(tmp_path / "other", "bf16")) == "fp32"


def test_a_machine_that_lacks_it_is_told_what_all_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "cpu_computes_bf16", lambda: False)
    with pytest.raises(UsageError, match="begun with --precision bf16, and this processor does"):
        precision_of_run("auto", CPU, begin(tmp_path / "begun", "bf16"))
