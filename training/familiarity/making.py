"""From pictures to the weights that ship: what is learnt from, where the limits lie, and what is accepted with them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from core.imaging.preparation.familiarity import Perceptron
from training.data.archives import FloatArray, IntArray
from training.familiarity.drawn import JUDGED
from training.familiarity.fit import doubts, fit, left_out
from training.familiarity.made_up import INVERSIONS, inverted
from training.familiarity.pictures import described, examples, own_pictures
from training.familiarity.strangers import Stranger, strangers

# Of the validation slices, so many are accepted; from the first limit on a slice begins to be strange.
_ACCEPTED: Final = 0.98
_USUAL: Final = 0.95
# Of each kind that is drawn, so many are judged.
_DRAWINGS: Final = 60
_TURNED: Final = {1: "turned to the left", 2: "upside down", 3: "turned to the right"}


@dataclass(frozen=True)
class Share:
    """Of ``count`` pictures called ``name``, the share that is accepted."""

    name: str
    count: int
    accepted: float


@dataclass(frozen=True, eq=False)
class _Learnt:
    descriptions: FloatArray
    kinds: IntArray
    sources: tuple[str, ...]

    def without(self, source: str) -> _Learnt:
        rows = np.flatnonzero(left_out(self.sources, source))
        return _Learnt(self.descriptions[rows], self.kinds[rows], tuple(self.sources[row] for row in rows))


def make(data: Path, packages: Path, out: Path, *, held_out: bool, seed: int) -> tuple[Share, ...]:
    """Write the weights to ``out``, and say what they accept: of ``val``, of it changed, and of each stranger's source.

    With ``held_out`` each source of strangers is judged by other weights, made without it. Raises ValueError where a
    package lacks a file.
    """
    shown = list(examples(data, packages, seed))
    learnt = _Learnt(
        np.stack([item.description for item in shown]),
        np.array([item.kind for item in shown], np.int64),
        tuple(item.source for item in shown),
    )
    usual = [picture for picture in own_pictures(data, "val") if picture.shows == "mr"]
    plain = np.stack([described(picture.pixels) for picture in usual])
    network = _with_limits(learnt, plain, seed)
    write(network, out)
    shares = [_share("val", network, plain), *_shares_of_val(network, usual, seed)]
    foreign = list(strangers(packages))
    for shows, source in sorted({(picture.shows, picture.source) for picture in foreign}):
        found = [picture for picture in foreign if (picture.shows, picture.source) == (shows, source)]
        judge = _with_limits(learnt.without(source), plain, seed) if held_out else network
        shares.append(_share(f"{shows}: {source}", judge, _described(found)))
    return tuple(shares)


def _with_limits(learnt: _Learnt, plain: FloatArray, seed: int) -> Perceptron:
    network = fit(learnt.descriptions, learnt.kinds, learnt.sources, seed)
    limits = np.quantile(doubts(network, plain), (_USUAL, _ACCEPTED))
    return replace(network, limits=limits.astype(np.float32))


def _described(pictures: Sequence[Stranger]) -> FloatArray:
    return np.stack([described(picture.pixels) for picture in pictures])


def _share(name: str, network: Perceptron, descriptions: FloatArray) -> Share:
    return Share(name, len(descriptions), float(np.mean(doubts(network, descriptions) <= network.limits[1])))


def _shares_of_val(network: Perceptron, usual: Sequence[Stranger], seed: int) -> Iterator[Share]:
    for turns, name in _TURNED.items():
        turned = [described(np.ascontiguousarray(np.rot90(picture.pixels, turns))) for picture in usual]
        yield _share(f"val, {name}", network, np.stack(turned))
    for how in INVERSIONS:
        dark = np.stack([described(inverted(picture.pixels, how)) for picture in usual])
        yield _share(f"val, inverted ({how})", network, dark)
    rng = np.random.default_rng(seed)
    for name, draw in JUDGED.items():
        yield _share(f"drawn: {name}", network, np.stack([described(draw(rng)) for _ in range(_DRAWINGS)]))


def write(network: Perceptron, out: Path) -> None:
    """The weights in half precision; the same bytes from the same weights. Limits stay as they are."""
    arrays = {field.name: getattr(network, field.name) for field in fields(network)}
    halves = {name: array if name == "limits" else array.astype(np.float16) for name, array in arrays.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **halves)
    out.write_bytes(buffer.getvalue())
