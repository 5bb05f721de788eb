"""`transformers`' mask-generation pipeline with prompt encoder and decoder of one of our models.

Our image encoder stands in its place (it has no TinyViT). Crops are left out: its pipeline does not
support them reliably.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sa_engine.masks.nms import box_nms
from sa_engine.model.sam import Sam

_SHARED = "shared"
RENAMED = (
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", _SHARED),
    ("prompt_encoder.point_embeddings.", "prompt_encoder.point_embed."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    ("norm_final_attn", "layer_norm_final_attn"),
    *((f".norm{i}.", f".layer_norm{i}.") for i in range(1, 5)),
)
"""Our names (the published ones) and theirs, apart from the small MLPs of the decoder."""


class OurEncoder(nn.Module):
    """Our image encoder where their vision encoder was."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor, **_: Any) -> tuple[Tensor]:
        """Embeddings first, as theirs."""
        return (self.encoder(pixel_values),)


def transformers_pipeline(sam: Sam, device: torch.device) -> Any:
    """Their pipeline, ready to be called with a picture."""
    from transformers import SamConfig, SamModel, pipeline
    from transformers.models.sam import image_processing_pil_sam as processing

    class Processor(processing.SamImageProcessorPil):
        # Theirs needs torchvision for its NMS, here and nowhere else.
        def post_process_for_mask_generation(
            self,
            all_masks: list[Any],
            all_scores: Tensor,
            all_boxes: Tensor,
            crops_nms_thresh: float,
        ) -> Any:
            keep = box_nms(
                all_boxes.cpu().numpy(), all_scores.cpu().numpy(), iou_threshold=crops_nms_thresh
            )
            rles = [all_masks[i] for i in keep]
            masks = [processing._rle_to_mask(rle) for rle in rles]
            return masks, all_scores[keep], rles, all_boxes[keep]

    side = sam.image_size
    model = SamModel(
        SamConfig(
            vision_config={"num_hidden_layers": 1, "global_attn_indexes": [0], "image_size": side},
            prompt_encoder_config={"image_size": side, "image_embedding_size": side // 16},
        )
    )
    model.vision_encoder = OurEncoder(sam.image_encoder)  # type: ignore[assignment]
    state = {f"vision_encoder.encoder.{k}": v for k, v in sam.image_encoder.state_dict().items()}
    for name, tensor in sam.state_dict().items():
        if name.startswith("image_encoder."):
            continue
        new = _their_name(name)
        if new == _SHARED:
            state["shared_image_embedding.positional_embedding"] = tensor
            new = "prompt_encoder.shared_embedding.positional_embedding"
        state[new] = tensor
    model.load_state_dict(state, strict=True)
    processor = Processor(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    model.train(False)
    make: Any = pipeline  # its overloads know no processor of one's own
    return make("mask-generation", model=model, image_processor=processor, device=device)


def transformers_masks(
    pipe: Any, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]
) -> list[tuple[NDArray[np.bool_], float]]:
    """Masks and scores of an image on the plain grid."""
    from PIL import Image

    result = pipe(
        Image.fromarray(rgb_HW3),
        points_per_crop=parameters["points_per_side"],
        points_per_batch=parameters["points_per_batch"] or 64,
        pred_iou_thresh=parameters["pred_iou_thresh"],
        stability_score_thresh=parameters["stability_score_thresh"],
        stability_score_offset=parameters["stability_score_offset"],
        crops_nms_thresh=parameters["box_nms_thresh"],
    )
    return [
        (np.asarray(mask, dtype=np.bool_), float(score))
        for mask, score in zip(result["masks"], result["scores"], strict=True)
    ]


def _their_name(name: str) -> str:
    if "hypernetworks" in name or "iou_prediction" in name:
        name = name.replace("layers.0", "proj_in").replace("layers.1", "layers.0")
        return name.replace("layers.2", "proj_out")
    for ours, theirs in RENAMED:
        name = name.replace(ours, theirs)
    return name
