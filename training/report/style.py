"""How every figure looks, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

# Told apart with every common kind of colour blindness (Okabe and Ito 2008).
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
RED: Final = "#D55E00"
SKY: Final = "#56B4E9"
PINK: Final = "#CC79A7"
GREY: Final = "#666666"
PALETTE: Final = (BLUE, ORANGE, GREEN, PINK, SKY, RED)

DOTS_PER_INCH: Final = 110
# What does not need more is stored with a palette: grey slices at a third of the size.
COLOURS: Final = 255

_STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "figure.constrained_layout.h_pad": 0.08,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches, written as PNG to ``path`` when the block ends well."""
    with rc_context(_STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        yield drawn
        # Without the program's version in the file, the same figure is the same bytes.
        drawn.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def legend(drawn: Figure, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Below the figure, in one row: what is shown by a line or mark of each look."""
    lines = [Line2D([], [], label=label, **look) for label, look in entries.items()]
    drawn.legend(handles=lines, loc="outside lower center", ncols=len(lines))


def show_grey(axes: Any, grey: Any) -> None:
    """A slice (h, w) in [0, 1], black to white, square pixels, and nothing around it."""
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
