"""Whether a batch fits, found out before any time is spent."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam
from sa_engine.training.available import available_bytes
from sa_engine.training.data.samples import LOGIT_STRIDE
from sa_engine.training.sam.compute import PRECISIONS
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.rounds import Batch, run_rounds

_SLACK = 1.3
"""Measured bytes are those kept for the backward pass; it needs some of its own."""


def check_memory(
    sam: Sam, config: TrainConfig, *, device: torch.device, processes: int = 1
) -> None:
    """Raise UsageError, with the batch that fits, if a step needs more memory than there is.

    processes: that train at once; on a CPU they share its memory.
    """
    own = max(1, config.batch_images // processes)
    micro = min(config.micro_batch or own, own)
    sharing = processes if device.type == "cpu" else 1
    available = available_bytes(device) / sharing
    # Gradients, two moments, the moving average and the weights.
    fixed = 5 * sum(p.numel() * p.element_size() for p in sam.parameters())
    each = bytes_of_one_image(sam, config) * _SLACK
    if fixed + micro * each <= available:
        return
    fits = int((available - fixed) // each)
    advice = (
        f"give --micro-batch {fits}"
        if fits >= 1
        else "not even one fits; give a smaller --image-size, fewer --masks-per-image or --rounds"
    )
    raise UsageError(
        f"{micro} images at once need about {(fixed + micro * each) / 2**30:.1f} GiB and "
        f"{available / 2**30:.1f} GiB are free for each process; {advice}"
    )


def bytes_of_one_image(sam: Sam, config: TrainConfig) -> int:
    """What the forward pass of one image keeps for its backward pass, in the run's precision.

    Measured on the CPU with few prompts and one round or two, and carried on linearly.
    """
    prompts, rounds = config.prompts.masks_per_image, config.rounds.rounds
    base = _kept(sam, config, prompts=1, rounds=1)
    per_prompt_round = _kept(sam, config, prompts=2, rounds=1) - base
    return base + per_prompt_round * (prompts * rounds - 1)


def _kept(sam: Sam, config: TrainConfig, *, prompts: int, rounds: int) -> int:
    size, cells = config.image_size, config.image_size // LOGIT_STRIDE
    targets = torch.zeros(1, prompts, cells, cells)
    targets[..., : cells // 2, : cells // 2] = 1
    batch = Batch(
        torch.zeros(1, 3, size, size),
        targets,
        torch.full((1, prompts, 2), size / 4),
        torch.tensor([0.0, 0.0, size / 2, size / 2]).expand(1, prompts, 4),
        torch.zeros(1, prompts, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
    )
    few = type(config.rounds)(rounds=rounds, mask_only_rounds=0)

    def step() -> object:
        # Statistics of normalisation layers must not see this image, nor the generator move.
        with torch.random.fork_rng(devices=[]):
            was_training = sam.training
            result = run_rounds(
                sam.eval(),
                batch,
                config=few,
                weights=config.losses,
                step=0,
                precision=PRECISIONS[config.precision],
            )
            sam.train(was_training)
            return result

    return kept_bytes(sam, step)


def kept_bytes(module: nn.Module, forward: Callable[[], object]) -> int:
    """What a forward pass keeps for its backward pass, the module's own weights aside."""
    from_storages: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            from_storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, _same):
        result = forward()
        # The graph must live while storages are counted: freed ones would be counted twice over.
        del result
    return sum(from_storages.values())


def _same(tensor: Tensor) -> Tensor:
    return tensor
