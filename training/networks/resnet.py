"""ResNet50 (He 2015) for one grey channel, with a small auxiliary tumour mask head used in training alone."""

from __future__ import annotations

from typing import NamedTuple

from monai.networks.nets.resnet import ResNet, ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional

# Channels of the first stage in the published network; a narrower one with the same layers trains several times faster.
WIDTH = 64
# Channels of the stage (stride 16) that the auxiliary head reads, and of the last stage (stride 32), at that width.
STAGE3_CHANNELS = 16 * WIDTH
FEATURES = 32 * WIDTH
# Bottleneck blocks in each stage.
BLOCKS = [3, 4, 6, 3]
# Stride of the auxiliary mask relative to the input.
MASK_STRIDE = 16


class ClassifierOutput(NamedTuple):
    """``logits`` (N, K), and of networks that have them ``mask_logits`` (N, 1, S/16, S/16) and ``maps``, the class
    evidence (N, K, S/32, S/32) whose mean plus the bias is the logit."""

    logits: Tensor
    mask_logits: Tensor | None
    maps: Tensor | None = None


class ResNetClassifier(nn.Module):
    """(N, 1, S, S) in [0, 1] -> class logits and coarse mask logits.

    Global average pooling and one linear layer: class activation maps are exact.
    """

    def __init__(self, classes: int, width: int = WIDTH, mean: float = 0.25, deviation: float = 0.25) -> None:
        super().__init__()
        self.mean = mean
        self.deviation = deviation
        # With these options MONAI's network is the 4.1 GMAC one (stride 2 in the first convolution).
        self.backbone = ResNet(
            "bottleneck",
            BLOCKS,
            [width, 2 * width, 4 * width, 8 * width],
            spatial_dims=2,
            n_input_channels=1,
            num_classes=classes,
            shortcut_type="B",
            bias_downsample=False,
            conv1_t_stride=2,
        )
        # At strides 2, 4, 8, 16 and 32.
        self.channels = (width, 4 * width, 8 * width, 16 * width, 32 * width)
        self.mask_head: nn.Module | None = nn.Conv2d(16 * width, 1, 1)
        nn.init.constant_(self.mask_head.bias, -3.0)
        for module in self.backbone.modules():
            if isinstance(module, ResNetBottleneck):
                # Each block starts as the identity (Goyal 2017), which steadies a start from scratch.
                nn.init.zeros_(module.bn3.weight)

    @property
    def last(self) -> nn.Linear:
        """The only layer after pooling."""
        return self.backbone.fc

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the first convolution and of the four stages, down to (N, 2048, S/32, S/32)."""
        net = self.backbone
        x = (images - self.mean) / self.deviation
        maps = [net.act(net.bn1(net.conv1(x)))]
        x = net.maxpool(maps[0])
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes and of the coarse mask."""
        maps = self.pyramid(images)
        logits = self.last(maps[-1].mean(dim=(2, 3)))
        evidence = functional.conv2d(maps[-1], self.last.weight[:, :, None, None])
        return ClassifierOutput(logits, None if self.mask_head is None else self.mask_head(maps[-2]), evidence)
