"""Steps of recipes that are small enough for a test to train."""

from __future__ import annotations


def classifier_step(name: str, images: int, *lines: str) -> str:
    """A tiny classifier that is shown so many slices; ``lines`` are further keys of the step or its configuration."""
    return "\n".join(
        [
            "[[steps]]",
            'do = "train"',
            f'name = "{name}"',
            'base = "classifier"',
            'config.labels = ["glioma", "meningioma", "pituitary", "no_tumor"]',
            'config.architecture = "vgg16"',
            "config.width = 8",
            f"config.schedule.phases = [{{ size = 64, images = {images}, batch = 8 }}]",
            "config.schedule.epoch_images = 8",
            *lines,
            "",
        ]
    )
