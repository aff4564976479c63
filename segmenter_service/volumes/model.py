"""The network that segments volumes: which bundle it comes from, and its answer for a whole volume."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import BundleFile, Variant, VolumePreprocessing
from core.contracts.regions import CHANNELS
from core.contracts.tensors import PROBABILITY, VOLUMES, Task
from core.errors import BundleCorrupt, InvalidRequest, ModelUnavailable
from core.imaging.preparation.volume_transforms import VolumeSpec
from core.runtime.bundle import MANIFEST_NAME, Bundle, find_bundles
from core.runtime.cpus import usable_cpus
from core.runtime.providers import CPU
from core.runtime.session import Session, SessionPool
from core.runtime.sliding import ColumnPlan, Forward, Shape, mirrored, plan_windows, slide
from core.runtime.tensors import check_tensors
from segmenter_service.volumes.settings import VolumeSettings

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[float], None]

TASK: Final[Task] = "volume-segmentation"
_BATCH_CUDA: Final = 4
# Windows of a column. A job of nine peaks at 1.7 GiB in int8 on a CPU; four in float32 take 2 GiB.
_COLUMN_CPU: Final[Mapping[Variant, int]] = {"int8": 10, "reference": 4}
_COLUMN_CUDA: Final = 16


@dataclass(frozen=True, slots=True)
class VolumeModel:
    """A network, ready to run on windows of ``window`` voxels to the right, anterior and superior."""

    bundle: Bundle
    file: BundleFile
    session: Session
    preprocessing: VolumePreprocessing

    @property
    def spec(self) -> VolumeSpec:
        """How volumes are prepared for it."""
        return VolumeSpec.of(self.preprocessing)

    @property
    def window(self) -> Shape:
        """Voxels of one window."""
        i, j, k = self.preprocessing.window
        return i, j, k

    def identity(self) -> dict[str, Any]:
        """What a result says of the model that it comes from; the manifest's digest covers every file of the bundle."""
        manifest = self.bundle.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "sha256": self.file.sha256,
            "manifest_sha256": hashlib.sha256((self.bundle.path / MANIFEST_NAME).read_bytes()).hexdigest(),
            "variant": self.file.variant,
            "provider": self.session.provider,
        }

    def forward(self, windows: FloatArray) -> FloatArray:
        """Probabilities (n, regions, *window) of windows (n, sequences, *window), or of what a column of them shows."""
        probability: FloatArray = self.session.run({VOLUMES: windows})[PROBABILITY]
        return probability


def find_model(settings: VolumeSettings) -> Bundle | None:
    """The bundle to run, verified; None where there is none. Raises BundleCorrupt."""
    names = () if settings.volume_model is None else (settings.volume_model,)
    found = find_bundles(settings.models_dir, TASK, names)
    # Sorted by name, the oldest version of each first.
    versions = [bundle for bundle in found if bundle.manifest.name == found[0].manifest.name]
    return versions[-1] if versions else None


def open_model(settings: VolumeSettings, wanted: str | None = None) -> VolumeModel:
    """The model, loaded. ``wanted`` is NAME or NAME@VERSION, where it matters which one it is.

    Raises ModelUnavailable where there is none, or another one, after which another worker may have it; BundleCorrupt,
    ProviderMissing.

    Windows are large, so that one is run at a time, on all cores: a runner each would need as many times the memory.
    """
    bundle = find_model(settings)
    if bundle is None:
        raise ModelUnavailable("No model for volumes is installed here.", retry_after_s=60.0)
    name, version = bundle.manifest.name, bundle.manifest.version
    if wanted not in (None, name, f"{name}@{version}"):
        raise ModelUnavailable(f"The worker has {name}@{version}; the job asks for another model.", retry_after_s=60.0)
    pool = SessionPool(
        settings.precision, provider=settings.provider, require_cuda=settings.require_cuda, threads=usable_cpus()
    )
    file, session = pool.open(bundle)
    preprocessing = bundle.manifest.preprocessing
    if not isinstance(preprocessing, VolumePreprocessing):
        raise BundleCorrupt(f"{bundle.path} has no preprocessing of volumes.")
    model = VolumeModel(bundle, file, session, preprocessing)
    _check(model)
    return model


def _check(model: VolumeModel) -> None:
    """Raise BundleCorrupt unless the network is what the manifest promises."""
    path, labels = model.bundle.path, model.bundle.manifest.labels
    check_tensors(model.bundle, model.session, free_axis=-1 if model.preprocessing.columns else 0)
    if labels != tuple(CHANNELS):
        raise BundleCorrupt(f"{path}: the labels of a volume model are {', '.join(CHANNELS)}, in this order.")
    try:
        for shape in _shown(model):
            model.session.inputs[0].check_shape((1, len(model.preprocessing.sequences), *shape))
    except InvalidRequest as error:
        raise BundleCorrupt(f"{path}: the windows of the manifest do not fit the network. {error.detail}") from error
    channels = next(spec for spec in model.session.outputs if spec.name == PROBABILITY).shape[1]
    if channels not in (None, len(labels)):
        raise BundleCorrupt(f"{path}: {channels} regions for {len(labels)} labels.")


def _shown(model: VolumeModel) -> tuple[Shape, ...]:
    """Voxels of what the network must take: a window, or a column of two and the least that is shown of it."""
    i, j, k = model.window
    if not model.preprocessing.columns:
        return ((i, j, k),)
    least = ColumnPlan.over((1, 1, k), model.window).shown
    return (i, j, k + k // 2), (*(part.stop - part.start for part in least), k + k // 2)


def _windows_at_once(model: VolumeModel) -> int:
    """As many as memory lets be faster."""
    on_cpu = model.session.provider == CPU
    if model.preprocessing.columns:
        return _COLUMN_CPU[model.file.variant] if on_cpu else _COLUMN_CUDA
    return 1 if on_cpu else _BATCH_CUDA


def infer(model: VolumeModel, tensor: FloatArray, settings: VolumeSettings, progress: Progress) -> FloatArray:
    """Probabilities (regions, i, j, k) for a prepared volume (sequences, i, j, k), window by window.

    ``progress`` and memory are as ``slide`` has them.
    """
    given = model.preprocessing
    plan = plan_windows(tensor.shape[1:], model.window, given.overlap, columns=given.columns)
    forward: Forward = mirrored(model.forward) if settings.volume_mirroring else model.forward
    size = settings.volume_batch or _windows_at_once(model)
    return slide(forward, tensor, plan, len(CHANNELS), batch_size=size, progress=progress)
