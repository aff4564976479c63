"""Other networks of whole volumes: a residual 3D U-Net in the way of nnU-Net, and slices along all three axes."""

from __future__ import annotations

import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from training.networks.unet import UNet

LEVELS = 5
# nnU-Net stops doubling here.
_WIDEST = 320
# Coarser levels that answer as well while it is trained.
_SUPERVISED = 2


class ResidualUNet3d(DynUNet):
    """nnU-Net's (Isensee 2021) U-Net of residual blocks with instance normalisation, deeply supervised, from MONAI.

    (N, channels, I, J, K), each side a multiple of 16 -> logits (N, regions, I, J, K); in training (N, answers,
    regions, I, J, K), its own answer and then those of two coarser levels.
    """

    def __init__(self, channels: int = 4, regions: int = 3, width: int = 16) -> None:
        filters = [min(width * 2**level, _WIDEST) for level in range(LEVELS)]
        super().__init__(
            spatial_dims=3,
            in_channels=channels,
            out_channels=regions,
            kernel_size=[3] * LEVELS,
            strides=[1] + [2] * (LEVELS - 1),
            upsample_kernel_size=[2] * (LEVELS - 1),
            filters=filters,
            norm_name=("INSTANCE", {"affine": True}),
            res_block=True,
            deep_supervision=True,
            deep_supr_num=_SUPERVISED,
        )
        # Tumour is rare: start near a probability of 2 %.
        for head in (self.output_block, *self.deep_supervision_heads):
            nn.init.constant_(head.conv.conv.bias, -4.0)


class SlicesOfThreePlanes(nn.Module):
    """One U-Net reads axial, coronal and sagittal slices of a volume; the mean of the three is the answer (2.5D).

    (N, channels, I, J, K), each side a multiple of 16 -> logits (N, regions, I, J, K). In training each batch is read
    along one axis, drawn at random: a step costs a third. A network of slices may be its start.
    """

    def __init__(self, channels: int = 4, regions: int = 3, width: int = 16) -> None:
        super().__init__()
        self.slices = UNet(channels, width)
        self.inner = nn.Conv2d(width, regions - 1, 1)
        nn.init.constant_(self.inner.bias, -4.0)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (N, regions, I, J, K)."""
        if self.training:
            return self._along(volumes, int(torch.randint(3, ())))
        return (self._along(volumes, 0) + self._along(volumes, 1) + self._along(volumes, 2)) / 3

    def _along(self, volumes: Tensor, axis: int) -> Tensor:
        """What slices across one axis, the head upright in them as it is in slices that people send, say."""
        # Both axes in plane run to the right and down, as in ``slices_in_volume.as_slices``.
        turned = volumes.flip((2, 3, 4)).movedim(axis + 2, 1).transpose(3, 4)
        slices = turned.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.slices.features(slices)
        logits = torch.cat([self.slices.head(features), self.inner(features)], dim=1)
        stacked = logits.reshape(*turned.shape[:2], *logits.shape[1:])
        return stacked.transpose(3, 4).movedim(1, axis + 2).flip((2, 3, 4))
