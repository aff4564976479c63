"""Everything that shapes a training, one frozen dataclass a task. A checkpoint carries the one it was made with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from training.records import KindName

# Names of ``training.networks.registry``. Those that start from ImageNet and are fine-tuned stand beside them.
ClassifierName = Literal["resnet50", "resnet50v2", "densenet121", "efficientnet-b0", "inception-v3", "vgg16"]
PretrainedName = Literal["efficientnet-lite0", "efficientnet-lite2"]
SegmenterName = Literal["unet", "residual-unet", "attention-unet", "fcn-8s", "pspnet"]
PretrainedSegmenterName = Literal["efficientnet-lite0-unet", "efficientnet-lite2-unet"]
VolumeSegmenterName = Literal[
    "slices-in-volume",
    "slices-in-volume-heads",
    "residual-attention-unet-3d",
    "residual-unet-3d",
    "slices-of-three-planes",
]
# ``falx``: the defaults below. ``paper``: ``training.paper.presets``.
Preset = Literal["falx", "paper"]


@dataclass(frozen=True)
class Changes:
    """Ranges of the random changes to slices and patches of volumes alike; every one is drawn anew for each."""

    # Degrees either way about the axis from feet to head. Heads are scanned nearly upright.
    rotation_deg: float = 15.0
    # Chance of a left-right flip.
    flip: float = 0.5
    # Exponent exp(N(0, gamma)) on grey values.
    gamma: float = 0.25
    # Factor 1 + N(0, brightness) on grey values.
    brightness: float = 0.1
    # Standard deviation of pixel noise, drawn between 0 and this.
    noise: float = 0.03
    # A smooth factor over the head, exp of random values of this deviation at 4 x 4 points, or 3 x 3 x 3 of a volume:
    # coils differ.
    bias_field: float = 0.0


@dataclass(frozen=True)
class Augmentation(Changes):
    """Ranges of the random changes to a slice."""

    # Magnification, drawn evenly between the two.
    zoom: tuple[float, float] = (0.9, 1.1)
    # Share of the side, either way.
    shift: float = 0.04
    # Chance of standing upside down. Never by default: no upload is.
    flip_vertical: float = 0.0
    # Degrees either way by which upright lines lean.
    shear_deg: float = 0.0
    # Chance that the four edges are blacked out to a random depth of up to ``border_depth`` of the side: the
    # outermost pixels alone betray the source of a slice and with it the label.
    border: float = 0.0
    border_depth: float = 0.08


@dataclass(frozen=True)
class Phase:
    """A stretch of the schedule at one input size."""

    # Side of the input square in pixels.
    size: int
    # Images shown in this phase.
    images: int
    # Slices a batch.
    batch: int = 32


@dataclass(frozen=True)
class ScheduleConfig:
    """What the loop itself needs, whatever the task."""

    # Run in order; cheap small inputs first.
    phases: tuple[Phase, ...]
    # Peak of the one-cycle learning rate.
    learning_rate: float = 1e-3
    # The peak throughout instead of the cycle.
    constant_rate: bool = False
    # Decoupled; not on biases and normalisation.
    weight_decay: float = 0.05
    # Share of the schedule in which the learning rate rises.
    warm_up: float = 0.1
    # Decay of the averaged weights a step; shorter averages at the start. The averaged weights are what is used.
    ema_decay: float = 0.998
    # Gradients are scaled down to this norm at most.
    clip_norm: float = 5.0
    # Images between two validations and checkpoints.
    epoch_images: int = 4096
    # bfloat16 autocast. Pays on CUDA and on CPUs with AMX or AVX512_BF16; plain AVX512 can be slower with it.
    bfloat16: bool = False
    # Everything random follows from it.
    seed: int = 20
    # Minutes of training after which the schedule must have ended: phases and learning rate are then compressed
    # in time. None (only then are runs repeatable) follows the number of images alone.
    time_limit_min: float | None = None


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier of single labelled slices."""

    kind: ClassVar[KindName] = "classifier"
    preset: Preset = "falx"

    # One network answers for both label sets: the four common classes are its first four logits.
    labels: tuple[str, ...] = ("glioma", "meningioma", "pituitary", "no_tumor", "neurocytoma", "schwannoma")
    # The pretrained ones start from ImageNet and are fine-tuned as teachers; the others start from noise.
    architecture: ClassifierName | PretrainedName = "resnet50"
    # Channels of the first stage: 64 is the published network. Half of it shows four times the images in the time, and
    # what it learnt is the start of the full one (``training.networks.starts``).
    width: int = 64
    schedule: ScheduleConfig = ScheduleConfig(
        phases=(
            Phase(size=96, images=120_000),
            Phase(size=128, images=140_000),
            Phase(size=160, images=60_000),
            Phase(size=192, images=60_000),
        )
    )
    # Nearly as wide as the teacher's: it tells what a changed slice still shows.
    augmentation: Augmentation = Augmentation(
        rotation_deg=20.0, zoom=(0.8, 1.25), shift=0.06, gamma=0.2, noise=0.02, border=0.3, bias_field=0.15
    )
    # Share of the target spread evenly over all classes.
    label_smoothing: float = 0.1
    # MixUp (Zhang 2018): two slices and their labels are blended by a share drawn from Beta(mix, mix). 0: never.
    mix: float = 0.2
    # Rare labels, and sources within a label, are drawn more often than they occur; else each slice is as likely.
    balanced: bool = True
    # The outline as a second answer, from a decoder on the same feature maps; else a coarse mask helps training alone.
    multitask: bool = False
    # Class loss weighted against how often each label is drawn.
    class_weights: bool = False
    # Weight of the mask loss beside the class loss.
    mask_weight: float = 0.3
    # Weight of the loss that puts the evidence for the class where the tumour is.
    evidence_weight: float = 0.15
    # With a teacher: share of the class loss that follows it, and the temperature both are compared at (Hinton 2015).
    # Both see the very same augmented, blended slice (Beyer 2022).
    distillation: float = 0.7
    distillation_temperature: float = 2.0
    # Side of the slices that a teacher is shown where a phase is smaller, which are then shrunk for the student: what
    # was fine-tuned at one size answers worse at another, and a student learns most for its time from small ones.
    taught_size: int | None = None
    # Weight of the loss that asks as many channels of the last map as the teacher has there to be the teacher's: a
    # thousand targets a slice where the classes are a handful. Of one teacher, with no more channels than the student.
    feature_weight: float = 0.0


TEACHER = ClassifierConfig(
    architecture="efficientnet-lite2",
    # It starts from ImageNet: a few passes are enough.
    schedule=ScheduleConfig(phases=(Phase(size=192, images=32_000),), ema_decay=0.996),
    augmentation=Augmentation(
        zoom=(0.85, 1.15), shift=0.05, gamma=0.2, brightness=0.15, noise=0.02, border=0.1, border_depth=0.06
    ),
    label_smoothing=0.05,
    # What starts from ImageNet was fine-tuned best so far without blends, and with labels as often as they occur.
    mix=0.0,
    balanced=False,
)


@dataclass(frozen=True)
class Mixture:
    """Shares of a segmentation batch by data set; they add up to 1."""

    # TCGA-LGG: several sequences.
    lgg: float = 0.5
    # Figshare outlines on single T1 post-contrast slices.
    outlined: float = 0.37
    # The few BraTS cases: the only T2.
    brats: float = 0.06
    # Heads without tumour: all other slices come from patients with one.
    healthy: float = 0.07


@dataclass(frozen=True)
class SequenceDropout:
    """How often a sample shows less than all of its sequences, so that any subset is accepted later."""

    # One slice of unknown sequence in all channels, as a single grey upload arrives.
    single: float = 0.18
    # A random non-empty subset; absent channels are zero.
    subset: float = 0.22


@dataclass(frozen=True)
class SegmenterConfig:
    """A segmenter of slices with up to four sequences, whole tumour."""

    kind: ClassVar[KindName] = "segmenter"
    preset: Preset = "falx"

    # The pretrained ones start from ImageNet and are fine-tuned; the others start from noise.
    architecture: SegmenterName | PretrainedSegmenterName = "unet"
    # Channels of the first level; each of the five levels of a U-Net doubles it. 64 is published for FCN and PSPNet.
    width: int = 16
    schedule: ScheduleConfig = ScheduleConfig(
        phases=(Phase(size=160, images=72_000, batch=16),), learning_rate=2e-3, weight_decay=0.03, epoch_images=3_200
    )
    # Wider than the classifier's: TCGA-LGG has 66 patients to train on.
    augmentation: Augmentation = Augmentation(
        rotation_deg=20.0, zoom=(0.8, 1.25), shift=0.06, noise=0.03, gamma=0.3, bias_field=0.2
    )
    mixture: Mixture = Mixture()
    dropout: SequenceDropout = SequenceDropout()
    loss: Literal["dice + cross-entropy", "dice"] = "dice + cross-entropy"
    # Share of each batch's LGG slices that show tumour.
    tumour_share: float = 0.5
    # With a teacher: share of the loss whose target is the teacher's probability instead of the outline.
    distillation: float = 0.6


SEGMENTER_TEACHER = SegmenterConfig(
    architecture="efficientnet-lite2-unet",
    schedule=ScheduleConfig(
        phases=(Phase(size=160, images=24_000, batch=16), Phase(size=192, images=12_000, batch=16)),
        learning_rate=1e-3,
        weight_decay=0.03,
        ema_decay=0.996,
        epoch_images=6_000,
    ),
    # Outlined slices are what an encoder that knows labels is better at than the U-Net.
    mixture=Mixture(lgg=0.4, outlined=0.47, brats=0.05, healthy=0.08),
)


@dataclass(frozen=True)
class VolumeAugmentation(Changes):
    """Ranges of the random changes to a patch of a volume."""

    # Degrees either way about the two axes in plane.
    tilt_deg: float = 8.0
    # Magnification, drawn evenly between the two.
    zoom: tuple[float, float] = (0.85, 1.2)
    # Further magnification from feet to head, evenly drawn on a log scale: the slice spacing of stacks is a guess.
    # None: no magnification at all along that axis, so that without tilt each slice stays sharp.
    stretch: tuple[float, float] | None = (0.65, 1.5)
    bias_field: float = 0.15
    # Standard deviation of the places' shifts in mm at 4 x 4 x 4 points of a patch, drawn between 0 and this; in plane
    # alone where nothing is stretched.
    elastic_mm: float = 2.0
    # Chances that greys come as other pipelines write them: both ends of the scale elsewhere by up to ``ends``, as
    # z-scores and min-max scaling leave them; clipped at up to ``clip`` of the brain at each end; or with the histogram
    # of another scan. At ``mixed`` of the draws each sequence comes in a way of its own.
    scaled: float = 0.2
    ends: float = 0.1
    clipped: float = 0.1
    clip: float = 0.03
    matched: float = 0.2
    mixed: float = 0.25
    # Chance that some sequences come in slices of a thickness between these, mostly axial ones.
    coarse: float = 0.2
    coarse_mm: tuple[float, float] = (3.0, 7.0)
    # Chance that the field of view of some sequences ends before the patch does, by up to this share of a side.
    cut: float = 0.1
    cut_depth: float = 0.3


@dataclass(frozen=True)
class VolumeDropout:
    """How often a patch shows less than all of its sequences, so that any subset is accepted later."""

    # FLAIR alone, where the scan has it.
    flair: float = 0.2
    # Another one alone.
    single: float = 0.1
    # A random non-empty subset; absent channels are zero.
    subset: float = 0.2


@dataclass(frozen=True)
class VolumeSegmenterConfig:
    """A segmenter of whole scans with up to four sequences: three nested regions."""

    kind: ClassVar[KindName] = "volume-segmenter"
    preset: Preset = "falx"

    architecture: VolumeSegmenterName = "slices-in-volume"
    # Channels of the first level; each further one doubles it.
    width: int = 16
    # Working spacing to the right, anterior and superior; thicker slices stay as they are where asked.
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 3.0)
    keep_thick_slices: bool = True
    # Voxels of a patch, and later of the graph's window, to the right and anterior: most heads fit in.
    in_plane: tuple[int, int] = (144, 176)
    # ``size`` is the third side, in slices; ``images`` counts patches.
    schedule: ScheduleConfig = ScheduleConfig(
        phases=(Phase(size=16, images=6_000, batch=2),),
        learning_rate=2e-3,
        weight_decay=0.03,
        warm_up=0.05,
        ema_decay=0.995,
        epoch_images=600,
    )
    # The slice network keeps the weights that it starts from (``--start-from``), so that a CPU need not train it anew:
    # its finest level alone takes longer than all of the 3D network.
    frozen_slices: bool = True
    augmentation: VolumeAugmentation = VolumeAugmentation(tilt_deg=0.0, stretch=None)
    dropout: VolumeDropout = VolumeDropout()
    # Share of patches of heads without tumour: halves of cases with their mirror image, and stretches of slices.
    healthy_share: float = 0.1
    # Share of the others from scans whose regions are all known; the rest teach the whole tumour alone.
    regions_share: float = 0.5
    # Share of the other patches that are centred on tumour.
    tumour_share: float = 0.5

    def window(self, size: int) -> tuple[int, int, int]:
        """Voxels of a patch of ``size`` slices."""
        return *self.in_plane, size


ISOTROPIC_VOLUMES = VolumeSegmenterConfig(
    architecture="residual-attention-unet-3d",
    spacing_mm=(3.0, 3.0, 3.0),
    keep_thick_slices=False,
    in_plane=(48, 48),
    frozen_slices=False,
    schedule=replace(
        VolumeSegmenterConfig.schedule, phases=(Phase(size=48, images=12_000, batch=4),), epoch_images=1_500
    ),
    augmentation=VolumeAugmentation(),
)
"""The 3D network alone, on voxels of one size along all axes: every value is interpolated from the start."""

RESIDUAL_VOLUMES = replace(
    ISOTROPIC_VOLUMES,
    architecture="residual-unet-3d",
    spacing_mm=(1.5, 1.5, 1.5),
    in_plane=(96, 96),
    schedule=replace(
        VolumeSegmenterConfig.schedule,
        phases=(Phase(size=96, images=2_400, batch=2),),
        learning_rate=1e-3,
        epoch_images=300,
        bfloat16=True,
    ),
    tumour_share=0.7,
)
"""A plain residual 3D U-Net in the way of nnU-Net, deeply supervised, on finer voxels."""

PLANES_OF_VOLUMES = replace(
    RESIDUAL_VOLUMES,
    architecture="slices-of-three-planes",
    schedule=replace(RESIDUAL_VOLUMES.schedule, phases=(Phase(size=96, images=6_000, batch=2),), epoch_images=600),
)
"""A network of slices that reads volumes along all three axes."""

Config = ClassifierConfig | SegmenterConfig | VolumeSegmenterConfig
