"""Whether a network takes and gives what its bundle's task promises, known before it is asked anything."""

from __future__ import annotations

from core.contracts.tensors import LOGITS, TENSORS
from core.errors import BundleCorrupt
from core.runtime.bundle import Bundle
from core.runtime.session import Session


def check_tensors(bundle: Bundle, session: Session, *, free_axis: int = 0) -> None:
    """Raise BundleCorrupt unless the network takes and returns what its task promises, and any length of one axis."""
    manifest = bundle.manifest
    wanted_input, wanted_outputs = TENSORS[manifest.task]
    inputs = tuple(spec.name for spec in session.inputs)
    if inputs != (wanted_input,):
        raise BundleCorrupt(f"{bundle.path}: the network takes {inputs}, its task needs ({wanted_input!r},).")
    outputs = {spec.name: spec for spec in session.outputs}
    missing = sorted(set(wanted_outputs) - outputs.keys())
    if missing:
        raise BundleCorrupt(f"{bundle.path}: the network lacks the outputs {', '.join(missing)}.")
    if session.inputs[0].shape[free_axis] is not None:
        axis = "batch" if free_axis == 0 else "last"
        raise BundleCorrupt(f"{bundle.path}: the {axis} axis of {wanted_input} must be free.")
    logits = outputs.get(LOGITS)
    if logits is not None:
        _check_logits(bundle, logits.shape[-1])


def _check_logits(bundle: Bundle, count: int | None) -> None:
    """Raise BundleCorrupt unless each label has its logit; a graph with a free number of them is believed."""
    manifest = bundle.manifest
    if count is None:
        return
    if manifest.label_indices is None and count != len(manifest.labels):
        raise BundleCorrupt(f"{bundle.path}: {count} logits for {len(manifest.labels)} labels.")
    if max(manifest.logit_indices) >= count:
        raise BundleCorrupt(f"{bundle.path}: label_indices name logit {max(manifest.logit_indices)} of {count}.")
