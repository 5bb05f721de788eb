"""The class-agnostic box detector on the promptable model's image encoder."""
