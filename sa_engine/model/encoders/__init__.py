"""Image encoders: ViT, TinyViT, and the attention with relative positions."""
