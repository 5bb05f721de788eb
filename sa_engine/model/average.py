"""The mean of several models' weights: often better than each of them, and never slower.

Source: Wortsman et al., "Model soups" (2022). The models must have been trained on from the same
weights, as by several machines that each go their own way for a while.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam

_ORIGIN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def average(models: Sequence[Sam]) -> Sam:
    """The first model with the mean of all models' weights, in place.

    Raises UsageError for less than two models, for unlike variants or input sizes, and for models
    that do not stem from the same weights: those have nothing in common to average.
    """
    first, *others = models
    if not others:
        raise UsageError("the mean of one model is that model; give at least two")
    states = [sam.state_dict() for sam in models]
    for sam, state in zip(others, states[1:], strict=True):
        if (sam.variant, sam.image_size) != (first.variant, first.image_size):
            raise UsageError(
                f"a {first.variant} at {first.image_size} px and a {sam.variant} at "
                f"{sam.image_size} px have no mean; give models of one variant and size"
            )
        if state.keys() != states[0].keys() or not torch.equal(state[_ORIGIN], states[0][_ORIGIN]):
            raise UsageError(
                "the models do not stem from the same weights (their random positions differ), so "
                "their mean means nothing; average models that were trained from one --init"
            )
    first.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    return first


def _mean(values: Sequence[Tensor]) -> Tensor:
    """The mean; the first of integers, which count steps."""
    if not values[0].is_floating_point():
        return values[0]
    return torch.stack(list(values)).mean(dim=0)
