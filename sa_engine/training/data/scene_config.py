"""How synthetic scenes are composed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneConfig:
    """How scenes are composed.

    size: side of the square picture, pixels, >= 32.
    min_things, max_things: things in a scene, before occlusion.
    part_probability: chance that a thing is made of parts, [0, 1].
    photo_probability: chance that a fill comes from a photograph where some are given, [0, 1].
    texture_probability: chance that a fill is more than a flat colour or a gradient, [0, 1].
    camera_probability: chance of each of blur, noise and JPEG, [0, 1].
    min_area: smallest visible mask kept, pixels.
    """

    size: int = 128
    min_things: int = 2
    max_things: int = 9
    part_probability: float = 0.35
    photo_probability: float = 0.5
    texture_probability: float = 0.7
    camera_probability: float = 0.5
    min_area: int = 24

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ValueError(f"scene size is {self.size} px; give at least 32")
        if not 1 <= self.min_things <= self.max_things:
            raise ValueError(f"things must satisfy 1 <= {self.min_things} <= {self.max_things}")
        for name in (
            "part_probability",
            "photo_probability",
            "texture_probability",
            "camera_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value in [0, 1]")


EASY = SceneConfig(
    part_probability=0.15,
    photo_probability=0.0,
    texture_probability=0.1,
    camera_probability=0.3,
)
"""Mostly flat colours: from random weights a first lesson that pictures are worth a look."""

MIDDLE = SceneConfig(
    part_probability=0.25,
    photo_probability=0.4,
    texture_probability=0.4,
    camera_probability=0.4,
)

SCENES = {"easy": EASY, "middle": MIDDLE, "full": SceneConfig()}
