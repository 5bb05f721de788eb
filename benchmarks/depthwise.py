"""Depthwise convolutions of lite2 in training, by memory layout and precision.

    python benchmarks/depthwise.py --device cuda --batch 48

Forward and backward of each shape at 512 px, mean of some runs after a warm-up; the last line is
the sum over the layers of a backbone. "last" and "first" say where channels lie in memory;
"turned" is the way from last to first and back.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

# Channels, side of the input, kernel, stride, layers of that shape in lite2 at 512 px.
SHAPES = (
    (32, 256, 3, 1, 1),
    (96, 256, 3, 2, 1),
    (144, 128, 3, 1, 2),
    (144, 128, 5, 2, 1),
    (288, 64, 5, 1, 2),
    (288, 64, 3, 2, 1),
    (528, 32, 3, 1, 3),
    (528, 32, 5, 1, 1),
    (720, 32, 5, 1, 3),
    (720, 32, 5, 2, 1),
    (1248, 16, 5, 1, 4),
    (1248, 16, 3, 1, 1),
)
VARIANTS = {
    "bf16 last": (torch.bfloat16, torch.channels_last, False),
    "bf16 first": (torch.bfloat16, torch.contiguous_format, False),
    "bf16 turned": (torch.bfloat16, torch.contiguous_format, True),
    "fp32 last": (torch.float32, torch.channels_last, False),
    "fp32 first": (torch.float32, torch.contiguous_format, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    totals = dict.fromkeys(VARIANTS, 0.0)
    print(f"{'shape':32}" + "".join(f"{name:>14}" for name in VARIANTS))
    for channels, side, kernel, stride, layers in SHAPES:
        line = f"{channels:5} at {side:3}, {kernel}x{kernel} / {stride}, x {layers}"
        cells = []
        for name, (dtype, layout, turned) in VARIANTS.items():
            given = torch.channels_last if turned else layout
            x = torch.randn(options.batch, channels, side, side, device=device, dtype=dtype)
            x = x.contiguous(memory_format=given).requires_grad_()
            weight = torch.randn(channels, 1, kernel, kernel, device=device, requires_grad=True)

            def step(
                x: torch.Tensor = x,
                weight: torch.Tensor = weight,
                kernel: int = kernel,
                stride: int = stride,
                turned: bool = turned,
            ) -> None:
                pad = kernel - stride
                padded = F.pad(x, (pad // 2, pad - pad // 2) * 2) if stride == 2 else x
                if turned:
                    padded = padded.contiguous()
                around = 0 if stride == 2 else kernel // 2
                out = F.conv2d(padded, weight.to(x.dtype), None, stride, around, groups=x.shape[1])
                if turned:
                    out = out.contiguous(memory_format=torch.channels_last)
                out.backward(out.detach())  # type: ignore[no-untyped-call]

            try:
                ms = _mean_ms(step, options.repeats, device)
            except RuntimeError as error:
                print(name, str(error).splitlines()[0])
                ms = float("nan")
            totals[name] += ms * layers
            cells.append(f"{ms:14.2f}")
        print(f"{line:32}" + "".join(cells), flush=True)
    print(f"{'all, ms':32}" + "".join(f"{total:14.1f}" for total in totals.values()))


def _mean_ms(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    for _ in range(2):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
