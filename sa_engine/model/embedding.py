"""An encoded image, as the mask decoder takes it."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageEmbedding:
    """B encoded images.

    coarse_BCHW: (B, C, S/16, S/16), the cells that prompts attend to.
    eighth_BCHW, quarter_BCHW: high-resolution skips, (B, C/4, S/8, S/8) and (B, C/8, S/4, S/4),
        that the mask decoder adds on its way up (Ravi et al., "SAM 2", 2024); None for encoders
        without.
    """

    coarse_BCHW: Tensor
    eighth_BCHW: Tensor | None = None
    quarter_BCHW: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.eighth_BCHW is None) != (self.quarter_BCHW is None):
            raise ValueError("the skips at strides 8 and 4 come together: give both or neither")

    def __len__(self) -> int:
        return len(self.coarse_BCHW)

    @property
    def device(self) -> torch.device:
        """Where the maps are."""
        return self.coarse_BCHW.device

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """The maps there are, coarse one first."""
        every = (self.coarse_BCHW, self.eighth_BCHW, self.quarter_BCHW)
        return tuple(x for x in every if x is not None)

    def image(self, index: int) -> "ImageEmbedding":
        """One of the images, as a batch of one."""
        return ImageEmbedding(*(x[index : index + 1] for x in self.maps))

    def to(self, device: torch.device) -> "ImageEmbedding":
        """The same maps on a device."""
        return ImageEmbedding(*(x.to(device) for x in self.maps))
