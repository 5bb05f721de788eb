"""The promptable model: image encoders, prompt encoder, mask decoder, checkpoints."""
