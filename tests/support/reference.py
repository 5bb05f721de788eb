"""The published model and generator with the weights of one of ours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.sam import Sam
from tests.support.plain_lite import PlainLite
from tests.support.torchvision_stand_in import import_segment_anything

PUBLISHED_PARAMETERS = (
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
)


def reference_sam(sam: Sam) -> Any:
    """`segment_anything`'s model: its own prompt encoder and mask decoder around our image encoder.

    The image encoder is compared by the model's tests; it has no counterpart for TinyViT there. For
    lite encoders it is the plain one, and the decoder adds its skips.
    """
    modeling = import_segment_anything().modeling
    side = sam.image_size
    setattr(sam.image_encoder, "img_size", side)  # noqa: B010 - the published predictor asks for it
    model = modeling.Sam(
        sam.image_encoder,
        modeling.PromptEncoder(
            embed_dim=256,
            image_embedding_size=(side // 16, side // 16),
            input_image_size=(side, side),
            mask_in_chans=16,
        ),
        modeling.MaskDecoder(
            transformer_dim=256,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )
    model.prompt_encoder.load_state_dict(sam.prompt_encoder.state_dict())
    model.mask_decoder.load_state_dict(sam.mask_decoder.state_dict())
    if isinstance(sam.image_encoder, LiteEncoder):
        model.image_encoder = _LiteImage(sam)
        upscaling = model.mask_decoder.output_upscaling
        model.mask_decoder.output_upscaling = _WithSkips(upscaling, model.image_encoder)
    return model.eval()


class _LiteImage(nn.Module):
    """The plain lite encoder; it keeps the skips of the last image."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.img_size = sam.image_size
        self.plain = PlainLite(sam.image_encoder.state_dict())
        self.skips: tuple[Tensor, ...] = ()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        embedding, *skips = self.plain.encode(x_BCHW)
        self.skips = tuple(skips)
        return embedding


class _WithSkips(nn.Module):
    """The published decoder's upscaling with an image's skips added after each step."""

    def __init__(self, upscaling: nn.Sequential, image: _LiteImage) -> None:
        super().__init__()
        self.upscaling, self.image = upscaling, image

    def forward(self, x_BCHW: Tensor) -> Tensor:
        first, norm, activation, second, last = self.upscaling
        eighth, quarter = self.image.skips
        x = activation(norm(first(x_BCHW) + eighth))
        out: Tensor = last(second(x) + quarter)
        return out


def reference_records(
    model: Any, rgb_HW3: NDArray[np.uint8], **parameters: Any
) -> list[dict[str, Any]]:
    """What the published generator makes of an image, masks as COCO run lengths.

    Parameters that are None keep its own default.
    """
    parameters = {name: value for name, value in parameters.items() if value is not None}
    generator = import_segment_anything().SamAutomaticMaskGenerator(
        model, output_mode="coco_rle", **parameters
    )
    records: list[dict[str, Any]] = generator.generate(rgb_HW3)
    return records
