"""The audit finds planted copies, whatever was done to them, and nothing where there are none."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from tests.support.layouts import UInt8Array, head, save, write_kaggle_3m
from training.audit.duplicates import Copies, difference_hash, exact_copies, fingerprints, group_names, near_copies
from training.audit.findings import audit
from training.commands.data import audit_command
from training.data.archives import FloatArray
from training.data.samples import SPLITS, Pixels, Sample


def stored_again(pixels: UInt8Array) -> UInt8Array:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


COPIES: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "stored again": stored_again,
    "half the size": lambda p: np.asarray(cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA), np.uint8),
    "cropped to the head": lambda p: np.ascontiguousarray(p[7:121, 7:121]),
    "padded": lambda p: np.pad(p, ((0, 0), (9, 31))),
    "stretched": lambda p: np.asarray(cv2.resize(p, (160, 110)), np.uint8),
    "darker": lambda p: (p * 0.7).astype(np.uint8),
}


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(audit_command)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def write_heads(folder: Path, count: int = 12) -> None:
    """Heads of as many people, spread over the splits."""
    for number in range(count):
        split = SPLITS[number % 3]
        save(head(number, 128), folder / split / ("glioma" if number % 2 else "notumor") / f"{number}.png")


def as_pixels(*images: UInt8Array) -> list[Pixels]:
    return [Pixels({"image": np.asarray(image, np.float32) / np.float32(255)}) for image in images]


def strangers(count: int) -> list[Sample]:
    return [Sample(f"{number}.png", ("image",), "here") for number in range(count)]


def test_different_heads_pass(tmp_path: Path) -> None:
    write_heads(tmp_path)
    code, output = run(str(tmp_path), "--out", str(tmp_path / "out" / "audit.json"))
    assert code == 0, output
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (record["pairs"], record["groups"], record["images"]) == ([], 12, 12)


@pytest.mark.parametrize("change", COPIES)
def test_a_planted_copy_in_another_split_fails(tmp_path: Path, change: str) -> None:
    write_heads(tmp_path)
    save(COPIES[change](head(0, 128)), tmp_path / "test" / "notumor" / "copy.png")
    code, output = run(str(tmp_path))
    assert code == 1, output
    assert "1 slices of test have a copy in train" in output
    found = audit(tmp_path)
    (pair,) = found.pairs
    assert {pair.first, pair.second} == {"train/notumor/0.png", "test/notumor/copy.png"}
    assert pair.kind == "near"
    assert [crossing.slices for crossing in found.groups_across] == [{"test": 1, "train": 1}]


def test_an_exact_copy_is_called_so_and_its_labels_are_compared(tmp_path: Path) -> None:
    write_heads(tmp_path)
    save(head(0, 128), tmp_path / "val" / "meningioma" / "copy.png")
    found = audit(tmp_path)
    assert [(pair.kind, pair.correlation, pair.crosses) for pair in found.pairs] == [("exact", 1.0, True)]
    assert found.contradictions == 1
    assert not found.passes


def test_a_copy_within_a_split_passes(tmp_path: Path) -> None:
    write_heads(tmp_path)
    save(head(0, 128), tmp_path / "train" / "notumor" / "copy.png")
    found = audit(tmp_path)
    assert (found.count("exact", crossing=False), found.count("exact", crossing=True)) == (1, 0)
    assert found.passes


def test_a_patient_in_two_splits_fails_without_any_copy(tmp_path: Path) -> None:
    for split, seed in (("train", 1), ("test", 2)):
        save(head(seed), tmp_path / split / "glioma" / "p1" / f"{seed}.png")
    code, output = run(str(tmp_path))
    assert code == 1
    assert "1 patients in more than one split" in output
    found = audit(tmp_path)
    assert not found.pairs
    assert [(crossing.name, crossing.slices) for crossing in found.patients_across] == [("p1", {"test": 1, "train": 1})]


def test_a_folder_in_no_layout_is_refused(tmp_path: Path) -> None:
    code, output = run(str(tmp_path))
    assert code == 2
    assert "in no known layout" in re.sub(r"[│\s]+", " ", output)


def test_data_without_splits_cannot_cross_one(tmp_path: Path) -> None:
    write_kaggle_3m(tmp_path, ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405"))
    found = audit(tmp_path)
    assert found.passes
    assert (found.images, found.groups) == (12, 2)


def test_blank_slices_and_tops_of_skulls_are_no_copies() -> None:
    blank = np.zeros((64, 64), np.uint8)
    top = np.zeros((128, 128), np.uint8)
    cv2.ellipse(top, (64, 64), (18, 24), 0, 0, 360, 200, -1)
    prints = fingerprints(as_pixels(blank, blank, top, np.roll(top, 9, axis=0)))
    assert prints.detailed.tolist() == [False] * 4
    assert not list(exact_copies(prints))
    assert not list(near_copies(prints, strangers(4)))


def test_slices_of_one_patient_are_not_called_copies() -> None:
    prints = fingerprints(as_pixels(head(1, 128), stored_again(head(1, 128))))
    known = [Sample(f"{number}.png", ("image",), "here", patient="p") for number in range(2)]
    assert not list(near_copies(prints, known))
    assert len(list(near_copies(prints, strangers(2)))) == 1


def test_slices_of_volumes_and_a_higher_threshold_ask_for_more() -> None:
    prints = fingerprints(as_pixels(head(1, 128), stored_again(COPIES["cropped to the head"](head(1, 128)))))
    (pair,) = near_copies(prints, strangers(2))
    assert 0.96 <= pair.correlation < 0.99
    assert not list(near_copies(prints, strangers(2), correlation=0.99))
    volumes = [Sample(f"case{number}", ("image",), "here", patient=str(number), position=4) for number in range(2)]
    assert not list(near_copies(prints, volumes))
    same = fingerprints(as_pixels(head(1, 128), stored_again(head(1, 128))))
    assert len(list(near_copies(same, volumes))) == 1


def test_a_sequence_that_repeats_another_of_its_slice_is_no_copy() -> None:
    grey: FloatArray = head(1).astype(np.float32) / np.float32(255)
    prints = fingerprints([Pixels({"t1": grey, "flair": grey})])
    assert not list(exact_copies(prints))
    assert not list(near_copies(prints, strangers(1)))


def test_blocks_do_not_lose_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [head(number, 128) for number in range(9)] + [stored_again(head(number, 128)) for number in range(9)]
    prints = fingerprints(as_pixels(*images))
    whole = list(near_copies(prints, strangers(18)))
    monkeypatch.setattr("training.audit.duplicates._BLOCK", 4)
    assert list(near_copies(prints, strangers(18))) == whole
    assert [(pair.first, pair.second) for pair in whole] == [(number, number + 9) for number in range(9)]


def test_the_hash_sees_which_side_is_brighter() -> None:
    ramp = np.tile(np.arange(0, 252, 28, dtype=np.uint8), (8, 1))
    assert int(difference_hash(ramp)) == 2**64 - 1
    assert int(difference_hash(ramp[:, ::-1].copy())) == 0


def test_patients_and_copies_chain_into_one_group() -> None:
    samples = [
        Sample("b", ("image",), "x", patient="p"),
        Sample("c", ("image",), "x", patient="p"),
        Sample("a", ("image",), "x"),
        Sample("d", ("image",), "x"),
    ]
    prints = fingerprints(as_pixels(head(1), head(2), head(2), head(3)))
    assert group_names(samples, exact_copies(prints)) == ("a", "a", "a", "d")


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_groups_are_the_connected_components(links: list[tuple[int, int]]) -> None:
    samples = [Sample(f"{index:02}", ("image",), "x") for index in range(20)]
    groups = group_names(samples, [Copies(first, second, "near") for first, second in links])
    reached = np.eye(20, dtype=bool)
    for first, second in links:
        reached[first, second] = reached[second, first] = True
    for _ in range(5):
        reached = reached @ reached
    for first in range(20):
        assert groups[first] == samples[int(np.flatnonzero(reached[first])[0])].name
