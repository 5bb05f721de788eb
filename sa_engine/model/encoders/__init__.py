"""Image encoders: ViT, TinyViT, EfficientNet-Lite, and what they are made of."""
