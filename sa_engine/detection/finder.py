"""An image in, its boxes out; the encoded image is kept for the mask decoder."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sa_engine.detection.boxes import BoxFilter, FoundBoxes, choose_boxes
from sa_engine.detection.encoder import EncodedMaps, encode
from sa_engine.detection.network import Detector
from sa_engine.model.crew import one_thread_an_operator
from sa_engine.model.framing import resize_to_input
from sa_engine.model.sam import Sam


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One encoded image: (height, width) inside the model's input, and of its own."""

    encoded: EncodedMaps
    input_hw: tuple[int, int]
    size_hw: tuple[int, int]


class BoxFinder:
    """Finds boxes with a model's image encoder and a detector that belongs to it.

    Both are moved to the device; the model is cast to the precision, the detector stays float32.
    """

    def __init__(
        self,
        sam: Sam,
        detector: Detector,
        *,
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.sam = sam.to(device).eval()
        self.sam.set_precision(precision)
        self.detector = detector.to(device).eval()

    @torch.inference_mode()
    def encode(self, rgb_HW3: NDArray[np.uint8]) -> EncodedImage:
        """Encode an upright RGB image, (H, W, 3) uint8."""
        small = resize_to_input(rgb_HW3, self.sam.image_size)
        image_3HW = torch.tensor(small, device=self.sam.device).permute(2, 0, 1).float()
        encoded = encode(self.sam, self.sam.preprocess(image_3HW)[None])
        return EncodedImage(encoded, small.shape[:2], rgb_HW3.shape[:2])

    @torch.inference_mode()
    def find(self, image: EncodedImage, kept: BoxFilter) -> FoundBoxes:
        """The boxes of an encoded image."""
        with one_thread_an_operator(self.sam.device):
            answers = self.detector(image.encoded)
        return choose_boxes(answers, input_hw=image.input_hw, size_hw=image.size_hw, kept=kept)
