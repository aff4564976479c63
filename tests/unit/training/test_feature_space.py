"""Distance to the training data: along the directions that they vary in, and off them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.bundle.graphs import WHITENED_DIMENSIONS, ClassifierGraph, FeatureSpace
from training.networks.classifiers import ResNetClassifier

WIDTH = 8
COUNT = 32 * WIDTH


@pytest.fixture(scope="module")
def features() -> npt.NDArray[np.float32]:
    """Two classes in the first 100 of the features, falling in spread; a trace of noise in all."""
    generator = np.random.default_rng(0)
    spread = np.concatenate([np.linspace(3, 0.5, 100), np.full(COUNT - 100, 1e-3)])
    values = generator.normal(size=(600, COUNT)) * spread
    values[::2, 0] += 12
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def space(features: npt.NDArray[np.float32]) -> FeatureSpace:
    return FeatureSpace.fit(features, np.arange(600) % 2, 2)


def distance(space: FeatureSpace, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    torch.set_num_threads(1)
    graph = ClassifierGraph(ResNetClassifier(2, WIDTH), 1.0, space)
    measured: npt.NDArray[np.float32] = graph.distance(torch.from_numpy(features)).numpy()
    return measured


def test_training_data_lie_near_the_root_of_two(space: FeatureSpace, features: npt.NDArray[np.float32]) -> None:
    assert np.sqrt(np.mean(distance(space, features) ** 2)) == pytest.approx(np.sqrt(2), rel=0.1)


def test_distance_is_both_parts_by_hand(space: FeatureSpace, features: npt.NDArray[np.float32]) -> None:
    centred = (features[:5] - space.mean).astype(np.float64)
    inside = centred @ space.basis
    near = np.mean(((inside * space.scale)[:, None] - space.centroids) ** 2, axis=2).min(axis=1)
    left = np.sum((centred - inside @ space.basis.T) ** 2, axis=1) / space.residual**2
    np.testing.assert_allclose(distance(space, features[:5]), np.sqrt(near + left), rtol=1e-3)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(WHITENED_DIMENSIONS), atol=1e-5)


def test_what_no_training_image_has_is_far(space: FeatureSpace, features: npt.NDArray[np.float32]) -> None:
    """A feature that never moved says nothing in whitened space; the remainder tells."""
    strange = features[:5].copy()
    strange[:, -1] += 20
    assert (distance(space, strange) > 2 * distance(space, features).max()).all()
    whitened = np.abs((strange - features[:5]) @ (space.basis * space.scale))
    assert whitened.max() < 1


def test_the_nearest_class_counts(space: FeatureSpace, features: npt.NDArray[np.float32]) -> None:
    """Beyond either class the distance grows by as much on both sides."""
    typical = np.repeat(space.mean[None], 3, axis=0)
    typical[:, 0] = (0.0 - 20.0, 12.0, 12.0 + 20.0)
    below, on_class, above = distance(space, typical).tolist()
    assert below == pytest.approx(above, rel=0.1)
    assert above > 1.5 * on_class
