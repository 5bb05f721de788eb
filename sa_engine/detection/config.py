"""What the detector's network is made of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """The network on top of the frozen image encoder.

    channels: width of the pyramid and the head, a multiple of 8.
    head_layers: convolutions of the head, >= 1.
    finest_stride: pixels of the model's input between neighbouring places of the finest map: 4, 8
        or 16. By default 4 for inputs of up to 512 pixels, else 8.
    """

    channels: int = 96
    head_layers: int = 2
    finest_stride: int | None = None

    def __post_init__(self) -> None:
        if self.channels < 8 or self.channels % 8:
            raise ValueError(f"channels is {self.channels}; give a multiple of 8")
        if self.head_layers < 1:
            raise ValueError(f"head_layers is {self.head_layers}; give at least 1")
        if self.finest_stride not in (None, 4, 8, 16):
            raise ValueError(f"finest_stride is {self.finest_stride}; give 4, 8 or 16")

    def strides(self, image_size: int) -> tuple[int, ...]:
        """The strides of the maps for a model input of `image_size` pixels a side.

        Each is twice the one before; the last map has at most 8 x 8 places.
        """
        stride = self.finest_stride or (4 if image_size <= 512 else 8)
        strides = [stride]
        while strides[-1] < 16 or image_size / strides[-1] > 8:
            strides.append(strides[-1] * 2)
        return tuple(strides)
