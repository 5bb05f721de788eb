from pathlib import Path

import pytest
import torch

from sa_engine.errors import UsageError
from sa_engine.model import device
from sa_engine.model.device import choose_device, choose_precision, cpu_computes_bf16

CPU = torch.device("cpu")


def test_cpu() -> None:
    assert choose_device("cpu") == CPU


def test_auto_prefers_a_gpu() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.backends.mps.is_available():
        expected = "mps"
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "CPU", ""])
def test_unknown_device(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is here")
@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_absent_cuda(name: str) -> None:
    with pytest.raises(UsageError, match=r"no CUDA GPU is available here .* --device auto or cpu"):
        choose_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="an Apple GPU is here")
def test_absent_mps() -> None:
    with pytest.raises(UsageError, match="no Apple GPU"):
        choose_device("mps")


def test_precision_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_computes_bf16", lambda: True)
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16


def test_bf16_on_a_processor_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_computes_bf16", lambda: False)
    with pytest.raises(UsageError, match="does not compute in bf16"):
        choose_precision("bf16", CPU)
    assert choose_precision("auto", CPU) == torch.float32


def test_precision_that_the_device_lacks() -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        choose_precision("fp16", CPU)


def test_unknown_precision() -> None:
    with pytest.raises(UsageError, match="unknown precision 'int8'; use auto, fp32, bf16, fp16"):
        choose_precision("int8", CPU)


def test_automatic_precision_follows_the_cpu() -> None:
    expected = torch.bfloat16 if cpu_computes_bf16() else torch.float32
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 fma", False),
        ("fpu avx512f avx512_bf16", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu avx512_bf16x", False),
    ],
)
def test_flags_of_the_cpu(tmp_path: Path, flags: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: avx512_bf16\nflags\t\t: {flags}\n\n")
    assert cpu_computes_bf16(cpuinfo) is expected


def test_no_cpuinfo(tmp_path: Path) -> None:
    assert cpu_computes_bf16(tmp_path / "absent") is False
