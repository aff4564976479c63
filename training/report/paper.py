"""What "Brain Tumor Classification and Segmentation Using Deep Learning" (Jain, Jadhav, Pandit) states of its models.

It names no test split, no number of images and no interval for any of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from training.report.page import markdown_table
from training.report.scored import Scored, shown

TITLE: Final = "Brain Tumor Classification and Segmentation Using Deep Learning (Jain, Jadhav, Pandit)"
# Around the table in docs/paper.md that a report fills.
BEGIN: Final = "<!-- table 5.3: written by `python -m training report` -->"
END: Final = "<!-- end of table 5.3 -->"


@dataclass(frozen=True)
class Claim:
    """One number of the paper in [0, 1] and where it stands; ``ours``: architectures of manifests to set beside it."""

    where: str
    what: str
    value: float
    ours: tuple[str, ...] = ()


TABLE_5_3: Final = (
    Claim("table 5.3", "EfficientNetB0", 0.913, ("efficientnet-b0",)),
    # The paper uses both names for one network.
    Claim("table 5.3", "ResNet50V2", 0.935, ("resnet50v2", "resnet50")),
    Claim("table 5.3", "InceptionV3", 0.921, ("inception-v3",)),
    Claim("table 5.3", "DenseNet121", 0.938, ("densenet121",)),
)
ACCURACY_IN_TEXT: Final = (
    Claim("text", "accuracy", 0.94),
    Claim("text, another place", "accuracy", 0.9908),
)
DICE_IN_TEXT: Final = Claim("text", "Dice", 0.88)
REGIONS_IN_TEXT: Final = (
    Claim("text", "Dice, necrotic core", 0.390),
    Claim("text", "Dice, oedema", 0.688),
    Claim("text", "Dice, enhancing", 0.653),
)


def table_5_3(scored: Sequence[Scored]) -> str:
    """Accuracies of the paper's table 5.3, shipped classifiers of the same network beside them, the others below."""
    rows = []
    for claim in TABLE_5_3:
        ours = [item for item in scored if _of_network(item, claim) and item.find("accuracy")]
        stated = [claim.what, f"{claim.value:.3f}"]
        rows += [[*stated, *_beside(item)] for item in ours] or [[*stated, "none shipped", "", "", "", ""]]
    others = [item for item in scored if item.find("accuracy") and not any(_of_network(item, c) for c in TABLE_5_3)]
    rows += [["none of the above", "", *_beside(item)] for item in others]
    header = ["network in the paper", "its accuracy", "here", "accuracy (95 %)", "balanced (95 %)", "split", "n"]
    return markdown_table(header, rows)


def _of_network(item: Scored, claim: Claim) -> bool:
    """Whether a bundle holds the claim's network, alone or side by side with others."""
    return not set(claim.ours).isdisjoint(item.manifest.architecture.split("+"))


def _beside(item: Scored) -> list[str]:
    accuracy, balanced = item.find("accuracy"), item.find("balanced_accuracy")
    assert accuracy is not None
    return [
        f"{item.address} ({item.manifest.architecture}), {len(item.manifest.labels)} classes",
        shown(accuracy),
        shown(balanced) if balanced else "",
        f"`{accuracy.split}`, {accuracy.data_set}",
        f"{accuracy.count} {accuracy.count_unit}",
    ]


def fill(text: str, table: str) -> str:
    """The text with ``table`` between its two marks. Raises ValueError where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for table 5.3: expected {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
