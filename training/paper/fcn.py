"""FCN-8s (Long 2015) on VGG16: the wide layers become convolutions, scores of three strides are added up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.paper.vgg import vgg_stages


def bilinear_upsampling(factor: int) -> nn.ConvTranspose2d:
    """One channel, ``factor`` times the side; starts as bilinear interpolation and may learn."""
    layer = nn.ConvTranspose2d(1, 1, 2 * factor, factor, factor // 2, bias=False)
    line = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor
    with torch.no_grad():
        layer.weight.copy_(line[:, None] * line[None, :])
    return layer


class FCN8s(nn.Module):
    """(N, channels, S, S), S a multiple of 32 -> logits (N, 1, S, S).

    ``width`` 64 is the published network with 134 million weights, most of them in the 7x7 layer.
    """

    def __init__(self, channels: int = 4, width: int = 16) -> None:
        super().__init__()
        stages, outputs = vgg_stages(channels, width)
        self.stages = nn.ModuleList(stages)
        wide = 64 * width
        self.classifier = nn.Sequential(
            nn.Conv2d(outputs[-1], wide, 7, padding=3),
            nn.ReLU(),
            nn.Dropout2d(),
            nn.Conv2d(wide, wide, 1),
            nn.ReLU(),
            nn.Dropout2d(),
            nn.Conv2d(wide, 1, 1),
        )
        self.score4 = nn.Conv2d(outputs[3], 1, 1)
        self.score3 = nn.Conv2d(outputs[2], 1, 1)
        self.from32 = bilinear_upsampling(2)
        self.from16 = bilinear_upsampling(2)
        self.from8 = bilinear_upsampling(8)
        # The two finer scores start at zero, as published: they only refine what the deepest says.
        for layer in (self.score4, self.score3):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.classifier[-1].bias, -4.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S)."""
        maps = []
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.from32(self.classifier(x)) + self.score4(maps[3])
        return self.from8(self.from16(x) + self.score3(maps[2]))
