"""Which device computes, and with how many bits."""

import functools
from pathlib import Path

import torch

from sa_engine.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name: "auto", "cpu", "cuda", "cuda:<n>" or "mps".

    "auto" takes a CUDA GPU, else Apple's GPU, else the CPU.

    Raises UsageError for an unknown name or a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind == "mps" and not number:
        if not torch.backends.mps.is_available():
            raise UsageError("no Apple GPU (mps) is available here; use --device auto or cpu")
        return torch.device("mps")
    if kind == "cuda" and (not number or number.isdecimal()):
        if not torch.cuda.is_available():
            raise UsageError(
                "no CUDA GPU is available here (no driver, or PyTorch without CUDA); "
                "use --device auto or cpu"
            )
        count = torch.cuda.device_count()
        if number and int(number) >= count:
            raise UsageError(f"device {name}: GPUs here are cuda:0 to cuda:{count - 1}")
        return torch.device(name)
    raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:<number> or mps")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of that name on a device: "auto", "fp32", "bf16" or "fp16".

    "auto" is bf16 where the hardware computes in it (GPUs from Ampere on, CPUs with avx512_bf16 or
    AMX), fp16 on older CUDA GPUs and fp32 elsewhere.

    Raises UsageError for an unknown name, or one that the device cannot compute in.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; use {', '.join(PRECISIONS)}")
    if name == "auto":
        return _automatic_precision(device)
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision fp16 needs a GPU; on a CPU use auto, fp32 or bf16")
    if name == "bf16" and device.type == "cpu" and not cpu_computes_bf16():
        raise UsageError(
            "this processor does not compute in bf16 (no avx512_bf16 or AMX in /proc/cpuinfo) and "
            "would take many times as long; use auto or fp32"
        )
    if name == "bf16" and device.type == "cuda" and not _cuda_computes_bf16(device):
        raise UsageError(
            f"{torch.cuda.get_device_name(device)} has no bf16; use auto, fp16 or fp32"
        )
    return DTYPES[name]


def _automatic_precision(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if _cuda_computes_bf16(device) else torch.float16
    if device.type == "cpu" and cpu_computes_bf16():
        return torch.bfloat16
    return torch.float32


def _cuda_computes_bf16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


@functools.cache
def cpu_computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware, by its flags in Linux; else False."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags: set[str] = set()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            flags.update(line.partition(":")[2].split())
            break
    return bool(flags & {"avx512_bf16", "amx_bf16"})
