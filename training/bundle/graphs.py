"""The networks as they are served, every output of ``core.contracts.tensors`` in one graph."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.archives import FloatArray
from training.networks.classifiers import Classifier, MultiTaskClassifier
from training.networks.slices_in_volume import SlicesInColumn, SlicesInVolume

# Dimensions that the feature distance is measured in.
WHITENED_DIMENSIONS = 64


@dataclass(frozen=True)
class FeatureSpace:
    """Where distance to the training data is measured, in the penultimate features (F,).

    Two parts of a centred feature are judged: its coordinates in the D leading directions of the within-class
    spread, each over its own spread, against the nearest class centroid (Mahalanobis; Lee 2018), and what those
    directions leave over, against the same of the training data (as the residual of ViM; Wang 2022). Strange
    images are found in the second more than in the first.

    ``mean`` (F,), ``basis`` (F, D) orthonormal, ``scale`` (D,), ``centroids`` (K, D) in scaled coordinates;
    ``residual`` is the root mean square length of the training data's remainder.
    """

    mean: FloatArray
    basis: FloatArray
    scale: FloatArray
    centroids: FloatArray
    residual: float

    @classmethod
    def identity(cls, classes: int, features: int) -> FeatureSpace:
        """A placeholder that measures the length of F ``features``."""
        dimensions = min(features, WHITENED_DIMENSIONS)
        return cls(
            np.zeros(features, np.float32),
            np.eye(features, dimensions, dtype=np.float32),
            np.ones(dimensions, np.float32),
            np.zeros((classes, dimensions), np.float32),
            1.0,
        )

    @classmethod
    def fit(cls, features: FloatArray, labels: npt.NDArray[np.int64], classes: int) -> FeatureSpace:
        """From ``features`` (n, F) of training slices and their ``labels`` (n,).

        A class without slices borrows another's centroid, which leaves the distance to the nearest as it is.
        """
        mean = features.mean(axis=0)
        centred = (features - mean).astype(np.float64)
        known = np.unique(labels).tolist()
        sources = [label if label in known else known[0] for label in range(classes)]
        centroids = np.stack([centred[labels == label].mean(axis=0) for label in sources])
        residuals = centred - centroids[labels]
        _, singular, directions = np.linalg.svd(residuals, full_matrices=False)
        basis = directions[:WHITENED_DIMENSIONS].T
        deviations = singular[:WHITENED_DIMENSIONS] / np.sqrt(max(1, len(features) - len(known)))
        # A floor keeps directions with next to no spread from deciding the distance.
        scale = 1 / np.maximum(deviations, 1e-3 * deviations[0])
        left = residuals - (residuals @ basis) @ basis.T
        residual = max(float(np.sqrt(np.square(left).sum(axis=1).mean())), 1e-3 * float(deviations[0]))
        return cls(
            mean,
            basis.astype(np.float32),
            scale.astype(np.float32),
            (centroids @ basis * scale).astype(np.float32),
            residual,
        )


class ClassifierGraph(nn.Module):
    """(N, 1, S, S) -> logits (N, K) over temperature, cam (N, K, h, w), energy (N,), features (N, F), distance (N,).

    mean(cam) + bias = logits * temperature, exactly: pooling and the last layer are both linear. ``energy`` is
    -logsumexp of the uncalibrated logits, ``distance`` that to the training data in the feature space, near 1.4 for
    the training data itself: higher is stranger. With two tasks the probability of tumour (N, 1, S, S), from the same
    feature maps, comes last.
    """

    def __init__(self, model: Classifier, temperature: float, space: FeatureSpace) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.mean: Tensor
        self.basis: Tensor
        self.scale: Tensor
        self.centroids: Tensor
        self.residual = space.residual
        for name in ("mean", "basis", "scale", "centroids"):
            self.register_buffer(name, torch.from_numpy(getattr(space, name)))
        self.decoder = model.decoder if isinstance(model, MultiTaskClassifier) else None

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """All outputs, in the order of ``TENSORS``."""
        pyramid, last = self.model.pyramid(image), self.model.last
        maps = pyramid[-1]
        features = maps.mean(dim=(2, 3))
        raw = last(features)
        cam = functional.conv2d(maps, last.weight[:, :, None, None])
        answers = raw / self.temperature, cam, -torch.logsumexp(raw, dim=1), features, self.distance(features)
        return answers if self.decoder is None else (*answers, torch.sigmoid(self.decoder(pyramid)))

    def distance(self, features: Tensor) -> Tensor:
        """(N,) of features (N, F): root of the mean square coordinate plus the squared relative remainder."""
        centred = features - self.mean
        inside = centred @ self.basis
        left = (centred - inside @ self.basis.T).square().sum(dim=1) / self.residual**2
        near = (inside[:, None] * self.scale - self.centroids[None]).square().mean(dim=2).amin(dim=1)
        return (near + left).sqrt()


class NormByMeans(nn.Module):
    """``InstanceNorm3d`` in plain arithmetic: (N, C, I, J, K), same shape.

    ONNX Runtime's own operator does not give 0 for a window of air (findings/onnx-norm-of-air.sh). Means are taken of
    slices first, and the mean is taken off before anything is squared.
    """

    def __init__(self, source: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.eps = source.eps
        self.weight = nn.Parameter(source.weight.detach().view(1, -1, 1, 1, 1).clone())
        self.bias = nn.Parameter(source.bias.detach().view(1, -1, 1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """The normalisation."""
        around = x - x.mean(dim=(3, 4), keepdim=True).mean(dim=2, keepdim=True)
        variance = (around * around).mean(dim=(3, 4), keepdim=True).mean(dim=2, keepdim=True)
        return around * (self.weight * torch.rsqrt(variance + self.eps)) + self.bias


def normalised_by_means(network: nn.Module) -> nn.Module:
    """The network, or, where it normalises volumes, a copy of it that does so by ``NormByMeans``."""
    if not any(isinstance(module, nn.InstanceNorm3d) for module in network.modules()):
        return network
    other = copy.deepcopy(network)
    for name, module in list(other.named_modules()):
        if isinstance(module, nn.InstanceNorm3d):
            other.set_submodule(name, NormByMeans(module))
    return other


class SegmenterGraph(nn.Module):
    """(N, 4, S, S) -> probability (N, 1, S, S), or (N, 4, D, H, W) -> (N, R, D, H, W): of tumour or of each region."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = normalised_by_means(model)

    def forward(self, images: Tensor) -> Tensor:
        """Probability of tumour."""
        return torch.sigmoid(self.model(images))


class ColumnGraph(nn.Module):
    """(1, channels, I, J, K) -> probability (W, R, *window): what ``SegmenterGraph`` says of each of W windows.

    Windows overlap by half along K, a multiple of half their side and at least a whole one. I and J are the window's
    without as many blocks of 16 on either side: what lies there is air.
    """

    def __init__(self, model: SlicesInVolume, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.model = SlicesInColumn(model, (window[0], window[1]), window[2])

    def forward(self, volumes: Tensor) -> Tensor:
        """Probability of each region."""
        return torch.sigmoid(self.model(volumes)).permute(0, 2, 3, 4, 1)
