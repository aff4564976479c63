"""``CARD.md``: what a model is, what it was measured on, and what it must not be used for.

Rendered from the manifest, what was measured beside it, and the recipe. What none of them says, the card does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from core.contracts.manifest import Manifest, Metric, VolumePreprocessing
from core.runtime.bundle import MANIFEST_NAME
from core.serving.cards import CARD_NAME
from training.bundle.measured import RUNS, Measured
from training.kinds import kind_of
from training.markdown import markdown_table, wrapped
from training.recipe import Recipe, read_recipe

UNKNOWN: Final = "Not known: no recipe. Ask whoever trained it."
NO_RECIPE: Final = """\
No recipe: nothing is known of the data, of the method or of the licence. Ask whoever trained it, before anybody uses it
for anything."""
# {name | data set | split}, or {name | data set | split | format}, where the format `n` is the number of items.
_FIGURE: Final = re.compile(r"\{([^{}|]+)\|([^{}|]+)\|([^{}|]+)(?:\|([^{}|]+))?\}")

Figures = Mapping[tuple[str, str, str], Metric]


def _paragraphs(*texts: str) -> str:
    parts = (" ".join(part.split()) for text in texts for part in text.split("\n\n"))
    return "\n\n".join(wrapped(part) for part in parts if part)


def _list(items: Iterable[str]) -> str:
    return "\n".join(wrapped("- " + " ".join(item.split())) for item in items)


def filled(text: str, figures: Figures) -> str | None:
    """``text`` with its figures in place; None where one of them was not measured of this bundle.

    So what a recipe says of one making of its bundle is not said of another.
    """
    lacking = []

    def value(match: re.Match[str]) -> str:
        name, data_set, split = (part.strip() for part in match.groups()[:3])
        found = figures.get((name, data_set, split))
        if found is None:
            lacking.append(name)
            return ""
        form = (match[4] or ".3f").strip()
        return str(found.count) if form == "n" else format(found.value, form)

    result = _FIGURE.sub(value, " ".join(text.split()))
    return None if lacking else result


def _said(texts: Iterable[str], figures: Figures) -> list[str]:
    return [found for text in texts if (found := filled(text, figures)) is not None]


def _method(recipe: Recipe | None, manifest: Manifest, measured: Measured) -> str:
    if recipe is not None:
        again = "It cannot be remade." if not measured.equal else "It is the like of a bundle that cannot be remade."
        return _paragraphs(recipe.text.method, "" if recipe.bundle.remakeable else f"{again} {recipe.bundle.reason}")
    outlines = ", with a second output that outlines the tumour" if measured.multitask else ""
    known = f"Its run says: network `{manifest.architecture}`, preset `{measured.preset}`{outlines}."
    return _paragraphs(NO_RECIPE, known)


def _operating_point(manifest: Manifest, measured: Measured) -> str:
    spec = manifest.preprocessing
    if isinstance(spec, VolumePreprocessing):
        return _list(_volume_lines(manifest, spec, measured))
    scores = ", ".join(f"{score:.3f} at {size}" for size, score in measured.sizes.items())
    lines = [f"input: {spec.size} x {spec.size} pixels; on validation {scores}"]
    fitted, check = manifest.calibration, manifest.input_check
    if fitted is not None:
        shared = "applied by the service: label sets share the graph"
        applied = "folded into the logits" if fitted.temperature_in_graph else shared
        lines.append(f"temperature {fitted.temperature:.3f}, {applied}")
        if fitted.conformal_quantile is not None:
            aim = f"{fitted.coverage:.0%}" if fitted.coverage is not None else "no stated"
            lines.append(f"prediction sets: 1 - p <= {fitted.conformal_quantile:.4f}, aimed at {aim} coverage")
    if check is not None:
        energy = "" if check.max_energy is None else f", energy <= {check.max_energy:.2f}"
        lines.append(f"input check: distance <= {check.max_distance:.2f}{energy}")
    if manifest.threshold is not None:
        lines.append(f"a pixel is tumour from a probability of {manifest.threshold:.2f} on")
    if "+" not in manifest.architecture:
        lines.append(f"{measured.images_seen} augmented slices seen in training")
    return _list(lines)


def _volume_lines(manifest: Manifest, spec: VolumePreprocessing, measured: Measured) -> list[str]:
    shown = "columns of windows" if spec.columns else "windows"
    scores = ", ".join(f"{score:.3f}" for score in measured.sizes.values())
    regions = zip(manifest.labels, manifest.thresholds or (), strict=False)
    chosen = ", ".join(f"{name.replace('_', ' ')} {threshold:.2f}" for name, threshold in regions)
    return [
        f"input: {shown} of {_by(spec.window)} voxels, overlapping by {spec.overlap:.0%} of their side at least; "
        f"voxels of {_spacing(spec)}",
        f"a voxel belongs to a region from these probabilities on: {chosen}",
        f"connected pieces of less than {manifest.smallest_component_ml:g} ml are left out",
        *_enhancing_lines(manifest),
        *_validated_lines(manifest),
        f"mean whole-tumour Dice on validation, all sequences and FLAIR alone together: {scores}",
        f"{measured.images_seen} augmented patches seen in training",
    ]


def _enhancing_lines(manifest: Manifest) -> list[str]:
    least = manifest.smallest_enhancing_ml
    return [f"less than {least:g} ml that enhance in all count as tumour core"] if least else []


def _validated_lines(manifest: Manifest) -> list[str]:
    """What decides which regions callers are shown."""
    if not manifest.validated_dice:
        return ["mean Dice of the regions on validation: not measured, so none of them is shown to callers"]
    parts = [
        f"{name.replace('_', ' ')} {metric.value:.3f} ({metric.count} {metric.count_unit} of {metric.data_set})"
        for name, metric in manifest.validated_dice.items()
    ]
    return [f"mean Dice of the regions on validation, every view; below 0.5 one is withheld: {', '.join(parts)}"]


def _spacing(spec: VolumePreprocessing) -> str:
    if spec.spacing_mm is None:
        return "the scan's own spacing"
    return f"{_by(spec.spacing_mm)} mm" + ("; thicker slices stay as they are" if spec.keep_thick_slices else "")


def _by(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:g}" for side in sides)


def _data(recipe: Recipe | None) -> str:
    if recipe is None:
        return UNKNOWN
    known = ((item.name, "; ".join(filter(None, (item.use, item.licence, item.source)))) for item in recipe.data)
    shown = _list(": ".join(item) for item in known)
    return "\n\n".join(filter(None, (shown, _paragraphs(recipe.text.splits))))


def _figures(manifest: Manifest, measured: Measured) -> str:
    if measured.split is None:
        return "Not evaluated: an intermediate state for development."
    rows = []
    for place, metric in enumerate(manifest.metrics):
        other = measured.int8[place] if measured.int8 else None
        interval = f"{metric.interval[0]:.3f} to {metric.interval[1]:.3f}" if metric.interval else ""
        count, shown = f"{metric.count} {metric.count_unit}", "" if other is None else f"{other:.3f}"
        rows.append([metric.name, metric.data_set, count, f"{metric.value:.3f}", interval, shown])
    note = wrapped(
        f"Split `{measured.split}`. Intervals: bootstrap, whole patients (where unknown: whole clusters of "
        "near-duplicates) drawn with replacement."
    )
    text = f"{note}\n\n" + markdown_table(["figure", "data", "n", "reference", "95 % interval", "int8"], rows)
    if measured.confusion:
        counts = [[name, *map(str, row)] for name, row in zip(manifest.labels, measured.confusion, strict=True)]
        text += "\n\nConfusion (rows: truth, columns: answer)\n\n" + markdown_table(["", *manifest.labels], counts)
    return text


def _failures(manifest: Manifest, measured: Measured) -> str:
    note = wrapped(
        f"Of the reference on `{measured.split}`, by the names that the data have: {kind_of(manifest.task).worst}. "
        "Examples, no statistics."
    )
    rows = [[f"`{item.name}`", item.data_set, item.truth, item.answer] for item in measured.failures]
    return f"{note}\n\n" + markdown_table(["what", "data", "truth", "answer"], rows)


def _files(manifest: Manifest, measured: Measured) -> str:
    spec = manifest.preprocessing
    shown = "a slice" if manifest.task == "classification" else "a slice with every sequence"
    if isinstance(spec, VolumePreprocessing):
        shown = f"a window of {_by(spec.window)} voxels"
    rows = [
        [f"`{file.name}`", file.variant, f"{file.size_bytes / 2**20:.1f} MiB", f"{measured.cpu_ms[file.name]:.1f}"]
        for file in manifest.files
    ]
    cost = (
        f"CPU ms: one run for {shown} on one core ({measured.core}), decoding not included; the median of {RUNS} runs, "
        "the files in turn."
    )
    text = (
        "The reference stores its weights as fp16 and computes in float32. It agrees with torch to "
        f"{measured.parity:.1e} with the same weights; rounding them to fp16 changes outputs by at most "
        f"{measured.rounding:.1e}."
    )
    for file in manifest.files:
        if file.variant == "int8":
            verdict = "may be the CPU's default" if file.passes_gate else "is not the CPU's default"
            agreement = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in file.agreement.items())
            text += f" Against it on `val`, int8 has: {agreement}; it {verdict}."
    return f"{markdown_table(['file', 'variant', 'size', 'CPU ms'], rows)}\n\n{_paragraphs(cost, text)}"


def model_card(manifest: Manifest, measured: Measured, recipe: Recipe | None) -> str:
    """The card as Markdown. Without a recipe it says that nothing is known of data, method, limits and licence."""
    stated = (*manifest.metrics, *measured.further)
    figures = {(item.name, item.data_set, item.split): item for item in stated}
    limits = list(manifest.caveats)
    limits += [UNKNOWN] if recipe is None else _said(recipe.text.limits, figures)
    history = [] if recipe is None else _said(recipe.text.history, figures)
    intro = f"`{manifest.name}` version {manifest.version}, labels: {', '.join(manifest.labels)}."
    parts = {
        "How it was made": f"{_method(recipe, manifest, measured)}\n\n{_operating_point(manifest, measured)}",
        "Data": _data(recipe),
        "Figures": _figures(manifest, measured),
        "Failures": _failures(manifest, measured) if measured.failures else "",
        "Files": _files(manifest, measured),
        "Limits": _list(limits),
        "History": _paragraphs(*history),
        "Licence": _paragraphs(manifest.licence),
    }
    shown = [f"## {name}\n\n{text}" for name, text in parts.items() if text]
    return "\n\n".join([f"# {manifest.title}", f"**{manifest.intended_use}**", intro, *shown]) + "\n"


def render_card(folder: Path, recipe: Recipe | None = None) -> str:
    """The card of the bundle in ``folder``, by its recipe or, where that has another place by now, by ``recipe``.

    Raises FileNotFoundError where manifest, ``measured.json`` or the recipe that it names is missing.
    """
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_text())
    measured = Measured.read(folder)
    if recipe is None and measured.recipe is not None:
        recipe = read_recipe(measured.recipe)
    return model_card(manifest, measured, recipe)


def write_card(folder: Path, recipe: Recipe | None = None) -> Path:
    """Render the card into its place, and say where that is."""
    path = folder / CARD_NAME
    path.write_text(render_card(folder, recipe), encoding="utf-8")
    return path
