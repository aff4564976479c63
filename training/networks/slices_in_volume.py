"""Slices first, then the volume: a 2D U-Net reads every axial slice, a 3D U-Net what it found in all of them.

Scans are sharp within their slices and coarse between them, and there are many more outlined slices than outlined
volumes to learn from. So the slice network may start as one that was trained on slices alone
(``training.networks.starts``), and the volume network then adds what only neighbouring slices tell. See docs/adr/0017.

As it is served (``SlicesInColumn``) each slice is read once, and nothing but slices is convolved: 3D convolutions
become 2D ones over stacked neighbours, the same function, which runtimes compute faster. Values lie there as (W, K, C,
I, J): windows, slices, channels, and the axes of a slice. See docs/adr/0020.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.runtime.sliding import BLOCK
from training.networks.unet import AttentionGate, ResidualAttentionUNet3d, ResidualBlock3d, UNet

POOL = 2
"""In-plane voxels of a slice to one of the 3D network."""

_LEVELS = 4
Slices = TypeVar("Slices", bound=nn.Module)


class SlicesInVolume(nn.Module):
    """(N, channels, I, J, K), axes right, anterior, superior -> logits (N, regions, I, J, K).

    I and J are multiples of 16, K is one of 8. The logits are the sum of what each slice says, at full resolution, and
    of what the 3D network says, at half of it in plane. That part starts at zero: with a trained slice network, the
    first region is at first exactly what the slices say.
    """

    def __init__(self, channels: int = 4, regions: int = 3, width: int = 16) -> None:
        super().__init__()
        self.channels = channels
        self.slices = UNet(channels, width)
        # The first region is the slice network's own.
        self.inner = self.make_inner(channels, regions - 1, width)
        self.context = ResidualAttentionUNet3d(width + 1 + channels, regions, width, _LEVELS)
        self.context.head = nn.ConvTranspose3d(width, regions, (POOL, POOL, 1), stride=(POOL, POOL, 1))
        nn.init.zeros_(self.context.head.weight)
        nn.init.zeros_(self.context.head.bias)

    def make_inner(self, _channels: int, regions: int, width: int) -> nn.Module:
        """What tells the inner regions from the features of a slice."""
        layer = nn.Conv2d(width, regions, 1)
        nn.init.constant_(layer.bias, -4.0)
        return layer

    def train(self, mode: bool = True) -> Self:
        """The slice network keeps its normalisation: slices of one or two scans are no sample of all slices."""
        super().train(mode)
        for module in self.slices.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (N, regions, I, J, K)."""
        images = as_slices(volumes)
        features = self.slices.features(images)
        outer = self.slices.head(features)
        by_slice = as_volumes(torch.cat([outer, told(self.inner, features, images)], dim=1), volumes.shape[0])
        # Pooled while they are slices: a fourth of the values has to be put in another order then.
        found = functional.avg_pool2d(torch.cat([features, torch.sigmoid(outer)], dim=1), POOL)
        shown = functional.avg_pool3d(volumes, (POOL, POOL, 1))
        coarse = torch.cat([as_volumes(found, volumes.shape[0]), shown], dim=1)
        return by_slice + self.context(coarse)


class InnerHead(nn.Module):
    """Features (N, F, h, w) and the slices (N, C, h, w) that they are of -> logits (N, regions, h, w)."""

    def __init__(self, channels: int, regions: int, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(2 * width, regions, 1)
        nn.init.constant_(last.bias, -4.0)
        self.layers = nn.Sequential(
            nn.Conv2d(width + channels, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.01),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.01),
            last,
        )

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """Logits."""
        return self.layers(torch.cat([features, images], dim=1))


class SlicesInVolumeHeads(SlicesInVolume):
    """With a head of its own for the inner regions, which reads the sequences again.

    The slice network learnt its features for the whole tumour; what enhances is told by a difference of sequences.
    """

    def make_inner(self, channels: int, regions: int, width: int) -> nn.Module:
        """Two convolutions more."""
        return InnerHead(channels, regions, width)


def told(inner: nn.Module, features: Tensor, images: Tensor) -> Tensor:
    """What a network's ``inner`` says of slices."""
    return inner(features, images) if isinstance(inner, InnerHead) else inner(features)


def as_slices(volumes: Tensor) -> Tensor:
    """(N, C, I, J, K) -> (N K, C, J, I), face up and the patient's left on the right, as slices are shown."""
    count, channels, i, j, k = volumes.shape
    upright = volumes.flip((2, 3)).permute(0, 4, 1, 3, 2).reshape(count * k, channels, j, i)
    return upright.contiguous(memory_format=torch.channels_last)


def as_volumes(slices: Tensor, count: int) -> Tensor:
    """The way back: (``count`` K, C, J, I) -> (``count``, C, I, J, K)."""
    channels, j, i = slices.shape[1:]
    return slices.reshape(count, -1, channels, j, i).permute(0, 2, 4, 3, 1).flip((2, 3))


class StackedConvolution(nn.Module):
    """A ``Conv3d``, 1x1x1 or 3x3x3 with padding 1, as one of slices.

    (W, K, C, I, J) -> (W, K/stride, O, I/stride, J/stride).
    """

    def __init__(self, source: nn.Conv3d) -> None:
        super().__init__()
        self.stride = source.stride[0]
        outputs, inputs, side = source.weight.shape[:3]
        self.neighbours = side - 1
        self.flat = nn.Conv2d(side * inputs, outputs, side, self.stride, side // 2, bias=source.bias is not None)
        # (O, C, I, J, K) -> (O, K, C, I, J): neighbours below, the slice itself, neighbours above.
        self.flat.weight = nn.Parameter(source.weight.permute(0, 4, 1, 2, 3).flatten(1, 2).clone())
        if source.bias is not None:
            self.flat.bias = nn.Parameter(source.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """The convolution. A stride needs every second slice and its neighbours alone."""
        if not self.neighbours:
            return _by_slice(self.flat, x[:, :: self.stride])
        slices, nothing = x.shape[1], torch.zeros_like(x[:, :1])
        padded = torch.cat([nothing, x, nothing], dim=1)
        stacked = [padded[:, start : start + slices : self.stride] for start in range(3)]
        return _by_slice(self.flat, torch.cat(stacked, dim=2))


class StackedUp(nn.Module):
    """A ``ConvTranspose3d`` whose kernel is its stride: (W, K, C, I, J) -> (W, K s, O, I s, J s)."""

    def __init__(self, source: nn.ConvTranspose3d) -> None:
        super().__init__()
        self.of_slice = source.kernel_size[2]
        inputs, self.outputs = source.weight.shape[:2]
        self.flat = nn.ConvTranspose2d(inputs, self.of_slice * self.outputs, source.kernel_size[:2], source.stride[:2])
        # (C, O, I, J, K) -> (C, K O, I, J): the slices that one becomes, one after another.
        weight = source.weight.permute(0, 4, 1, 2, 3)
        self.flat.weight = nn.Parameter(weight.reshape(inputs, -1, *weight.shape[3:]).clone())
        assert source.bias is not None
        self.flat.bias = nn.Parameter(source.bias.repeat(self.of_slice))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        y = _by_slice(self.flat, x)
        windows, slices, _, i, j = y.shape
        return y.reshape(windows, slices * self.of_slice, self.outputs, i, j)


class StackedNorm(nn.Module):
    """``InstanceNorm3d`` over the slices of a window: (W, K, C, I, J), same shape."""

    def __init__(self, source: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.eps = source.eps
        self.weight = nn.Parameter(source.weight.detach().view(1, 1, -1, 1, 1).clone())
        self.bias = nn.Parameter(source.bias.detach().view(1, 1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Mean and variance of each channel of a window. Slices first, then their means: runtimes sum that fast.

        The mean is taken off before anything is squared. The mean of squares less the square of the mean is the same
        number, but in float32 nothing is left of it where the mean is some thousand times the spread.
        """
        around = x - x.mean(dim=(3, 4), keepdim=True).mean(dim=1, keepdim=True)
        variance = (around * around).mean(dim=(3, 4), keepdim=True).mean(dim=1, keepdim=True)
        return around * (self.weight * torch.rsqrt(variance + self.eps)) + self.bias


class StackedBlock(ResidualBlock3d):
    """``ResidualBlock3d`` on (W, K, C, I, J)."""

    def __init__(self, source: ResidualBlock3d) -> None:
        nn.Module.__init__(self)
        first, norm, activation, second, last = source.body
        self.body = nn.Sequential(
            StackedConvolution(first), StackedNorm(norm), activation, StackedConvolution(second), StackedNorm(last)
        )
        plain = isinstance(source.shortcut, nn.Identity)
        self.shortcut = source.shortcut if plain else StackedConvolution(source.shortcut)
        self.activation = source.activation


class StackedGate(AttentionGate):
    """``AttentionGate`` on (W, K, C, I, J)."""

    def __init__(self, source: AttentionGate) -> None:
        nn.Module.__init__(self)
        self.of_skip = StackedConvolution(source.of_skip)
        self.of_gate = StackedConvolution(source.of_gate)
        self.weight = StackedConvolution(source.weight)


class StackedContext(ResidualAttentionUNet3d):
    """``ResidualAttentionUNet3d`` on windows (W, K, C, I, J) -> logits (W, K, regions, 2 I, 2 J)."""

    channel_axis = 2

    def __init__(self, source: ResidualAttentionUNet3d) -> None:
        nn.Module.__init__(self)
        self.encoders = nn.ModuleList(StackedBlock(block) for block in source.encoders)
        self.ups = nn.ModuleList(StackedUp(up) for up in source.ups)
        self.gates = nn.ModuleList(StackedGate(gate) for gate in source.gates)
        self.decoders = nn.ModuleList(StackedBlock(block) for block in source.decoders)
        self.head = StackedUp(source.head)


class SlicesInColumn(nn.Module):
    """``SlicesInVolume`` on what shows the head in a column of windows: (1, channels, I, J, K) -> logits of every
    window (W, side, regions, *``in_plane``).

    I and J are those of ``in_plane`` without as many blocks of 16 on either side. Each slice is read once for all
    windows that show it. Around it is air, of which the network says what it says of an empty slice.
    """

    def __init__(self, source: SlicesInVolume, in_plane: tuple[int, int], side: int) -> None:
        super().__init__()
        self.half = side // 2
        self.slices = _turned(source.slices)
        self.inner = _turned(source.inner)
        self.context = StackedContext(source.context)
        self.air_logits: Tensor
        self.air_found: Tensor
        with torch.no_grad():
            empty = self.read(next(source.inner.parameters()).new_zeros(1, source.channels, *in_plane))
        for name, values in zip(("air_logits", "air_found"), empty, strict=True):
            # As exact as the file stores weights.
            self.register_buffer(name, values.half().float(), persistent=False)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits of every window."""
        by_slice, found = self.read(volumes[0].permute(3, 0, 1, 2))
        whole = self.windows(_within(self.air_logits, by_slice))
        return whole + self.context(self.windows(_within(self.air_found, found)))

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of slices (K, channels, I, J) their logits (K, regions, I, J), and at half the size what 3D reads."""
        features = self.slices.features(images)
        outer = self.slices.head(features)
        found = torch.cat([features, torch.sigmoid(outer), images], dim=1)
        return torch.cat([outer, told(self.inner, features, images)], dim=1), functional.avg_pool2d(found, POOL)

    def windows(self, slices: Tensor) -> Tensor:
        """(K, C, I, J) -> (W, side, C, I, J)."""
        halves = slices.reshape(-1, self.half, *slices.shape[1:])
        return torch.cat([halves[:-1], halves[1:]], dim=1)


def unstacked(weights: Mapping[str, Tensor], source: SlicesInVolume) -> dict[str, Tensor]:
    """Weights of a ``SlicesInColumn`` by their names in a network like ``source``, which it was made of.

    They have changed places alone, so a network whose weights are numbers tells where each of them was. Layers that
    are not among the weights are left out.
    """
    numbered = copy.deepcopy(source).double()
    count = 0
    for parameter in numbered.parameters():
        parameter.data = torch.arange(count, count + parameter.numel()).view(parameter.shape).double()
        count += parameter.numel()
    values, given = torch.zeros(count), torch.zeros(count, dtype=torch.bool)
    for name, places in SlicesInColumn(numbered, (BLOCK, BLOCK), 2).named_parameters():
        if name in weights:
            values[places.long().flatten()] = weights[name].flatten()
            given[places.long().flatten()] = True
    return {
        name: values[places.long()] for name, places in numbered.named_parameters() if bool(given[places.long()].all())
    }


def _turned(network: Slices) -> Slices:
    """The network of slices (C, I, J) that does what ``network`` does of slices as they are shown, (C, J, I) mirrored.

    Its kernels are turned instead of every slice.
    """
    other = copy.deepcopy(network)
    for module in other.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight = nn.Parameter(module.weight.flip((2, 3)).transpose(2, 3).contiguous())
    return other


def _within(air: Tensor, head: Tensor) -> Tensor:
    """(K, C, I, J) of the head in the middle of the air (1, C, *whole): (K, C, *whole)."""
    slices, _, rows, columns = head.shape
    air = air.expand(slices, -1, -1, -1)
    top, left = (air.shape[2] - rows) // 2, (air.shape[3] - columns) // 2
    beside = air[:, :, top : top + rows]
    middle = torch.cat([beside[..., :left], head, beside[..., left + columns :]], dim=3)
    return torch.cat([air[:, :, :top], middle, air[:, :, top + rows :]], dim=2)


def _by_slice(layer: nn.Module, x: Tensor) -> Tensor:
    windows, slices = x.shape[:2]
    y = layer(x.flatten(0, 1))
    return y.reshape(windows, slices, *y.shape[1:])
