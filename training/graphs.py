"""The networks as they are served: normalisation, calibration and every output in one graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.resnet import FEATURES, ResNetClassifier
from training.models.unet import UNet

CLASSIFIER_OUTPUTS = ("logits", "cam", "energy", "features", "distance")
SEGMENTER_OUTPUTS = ("probability",)
# Dimensions that the feature distance is measured in.
WHITENED_DIMENSIONS = 64

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSpace:
    """Whitened space of the penultimate features in which distance to the training data is measured.

    ``mean`` (F,), ``projection`` (F, D), ``centroids`` (K, D): one centroid a class.
    """

    mean: FloatArray
    projection: FloatArray
    centroids: FloatArray

    @classmethod
    def identity(cls, classes: int) -> FeatureSpace:
        """A placeholder that measures the distance of the first D features from zero."""
        return cls(
            np.zeros(FEATURES, np.float32),
            np.eye(FEATURES, WHITENED_DIMENSIONS, dtype=np.float32),
            np.zeros((classes, WHITENED_DIMENSIONS), np.float32),
        )

    @classmethod
    def fit(cls, features: FloatArray, labels: npt.NDArray[np.int64], classes: int) -> FeatureSpace:
        """Whiten by the within-class covariance of ``features`` (n, F), in its ``D`` leading directions."""
        mean = features.mean(axis=0)
        centred = (features - mean).astype(np.float64)
        centroids = np.stack([centred[labels == label].mean(axis=0) for label in range(classes)])
        residuals = centred - centroids[labels]
        _, singular, directions = np.linalg.svd(residuals, full_matrices=False)
        deviations = singular[:WHITENED_DIMENSIONS] / np.sqrt(max(1, len(features) - classes))
        # A floor keeps directions with next to no spread from deciding the distance.
        projection = directions[:WHITENED_DIMENSIONS].T / np.maximum(deviations, 1e-3 * deviations[0])
        return cls(mean, projection.astype(np.float32), (centroids @ projection).astype(np.float32))


class ClassifierGraph(nn.Module):
    """(N, 1, S, S) -> logits (N, K) over temperature, cam (N, K, h, w), energy (N,), features (N, F), distance (N,).

    mean(cam) + bias = logits * temperature, exactly: pooling and the last layer are both linear. ``energy`` is
    -logsumexp of the uncalibrated logits and ``distance`` that to the nearest class centroid: higher is stranger.
    """

    def __init__(self, model: ResNetClassifier, temperature: float, space: FeatureSpace) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.mean: Tensor
        self.projection: Tensor
        self.centroids: Tensor
        self.register_buffer("mean", torch.from_numpy(space.mean))
        self.register_buffer("projection", torch.from_numpy(space.projection))
        self.register_buffer("centroids", torch.from_numpy(space.centroids))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """All outputs, in the order of ``CLASSIFIER_OUTPUTS``."""
        _, maps = self.model.stages(image)
        last = self.model.backbone.fc
        features = maps.mean(dim=(2, 3))
        raw = last(features)
        cam = functional.conv2d(maps, last.weight[:, :, None, None])
        whitened = (features - self.mean) @ self.projection
        distances = (whitened[:, None] - self.centroids[None]).square().sum(dim=2).sqrt()
        return raw / self.temperature, cam, -torch.logsumexp(raw, dim=1), features, distances.amin(dim=1)


class SegmenterGraph(nn.Module):
    """(N, 4, S, S) -> probability (N, 1, S, S)."""

    def __init__(self, model: UNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Probability of tumour."""
        return torch.sigmoid(self.model(images))
