"""Descriptions as sites write them, in several languages, beside the header of what they describe."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.selection.evidence import judge
from core.imaging.dicom.selection.table import PATH, parse_table, series_table
from core.imaging.dicom.sequence import guess

T1 = Acquisition(scanning_sequence=("SE",), echo_ms=12, repetition_ms=550)
T2 = Acquisition(scanning_sequence=("SE",), echo_ms=100, repetition_ms=4500)
FLAIR = Acquisition(scanning_sequence=("SE", "IR"), echo_ms=100, repetition_ms=9000, inversion_ms=2500)
GRADIENT = Acquisition(scanning_sequence=("GR",), echo_ms=20, repetition_ms=600)

PLAIN = (
    "T1 w/o contrast", "T1W without Gd", "no contrast T1", "T1 non-contrast", "T1 non-enhanced", "T1 unenhanced",
    "T1 PRE", "T1 pre-Gd", "T1 before contrast", "T1 C-", "T1 -GD", "T1 (-) C", "T1 KM-", "T1 gd neg", "T1 no KM",
    "T1 NC", "T1 wo gad", "T1 tra ohne Kontrastmittel", "T1_ohne_KM", "T1 o. KM", "T1 nativ", "t1_tse_tra_nat",
    "T1 vor KM-Gabe", "T1 kein KM", "T1 sans gadolinium", "T1 sans produit de contraste",
    "T1 avant injection de gadolinium", "T1 non injecté", "T1 SE SANS", "T1 sin contraste", "T1 antes del contraste",
    "T1 S/C", "T1 simple", "T1 precontraste", "T1 basal", "T1 senza contrasto", "T1 senza m.d.c.",
    "T1 prima del mdc", "T1 pre mdc", "T1 basale", "T1 SMDC", "T1 sem contraste", "T1 s/ gd", "T1 zonder contrast",
    "T1 blanco", "T1 voor contrast", "T1 bez kontrastu", "T1 tanjun", "T1 POST-OP", "T1 postoperativ",
    "T1 posterior fossa", "T1 FOV 24 cm", "T1 mit FS ohne KM", "AX T1 FLAIR",
)  # fmt: skip
# A letter C at the end is for contrast; right behind T1 it may be for coronal.
LAST_C = ("t1_fl2d_cor_C", "T1 TSE FS C", "AX T1 - SE C")
GLUED_PLAIN = ("t1axpre", "T1TRANATIV", "T1OHNEKM", "MPRAGEPRE", "T1NOGD", "T1WOGD", "SANSGADO T1", "T1PREGD")
GLUED_ENHANCED = ("t1axpost", "T1TRAKM", "T1CORGD", "MPRAGEPOST", "BRAVOGD", "T1SAGGAD", "T1nachKM", "T1axGd")
OTHER_SCRIPTS_PLAIN = ("T1平扫", "T1造影なし", "T1 без контраста", "T1 до КУ")  # noqa: RUF001
OTHER_SCRIPTS_ENHANCED = ("T1增强", "轴位T1增强扫描", "T1造影", "T1 с контрастом", "T1 после КУ")  # noqa: RUF001
ENHANCED = (
    "T1 with contrast", "T1+C", "+C T1", "T1 C+", "T1 post", "T1 POST GAD", "T1CE", "T1_ce", "T1c", "CE T1", "GD T1",
    "T1 CM", "T1 Gadovist", "T1 MultiHance", "T1 Dotarem 10 ml", "T1 Gd-DTPA", "T1 gd pos", "T1 enhanced",
    "T1 W/ GAD", "T1 plus C", "T1 mit KM", "T1 nach KM", "T1 m. KM", "T1_tra_KM", "T1 mit Kontrastmittel",
    "T1 nach Gd-Gabe", "KM T1 cor", "T1 gado", "T1 injecté", "T1 après injection", "T1 avec gadolinium", "T1 IV+",
    "T1 con contraste", "T1 C/C", "T1 CIV", "T1 después de contraste", "T1 mdc", "T1 con mdc", "T1 dopo contrasto",
    "T1 com contraste", "T1 pós contraste", "T1 met contrast", "T1 na Gd", "T1 po kontraste", "T1 zouei",
    "T1 kontrastli", "T1 post Gd no fatsat", "T1 GD no FS", "T1 without fatsat with gad", "T1 no BLADE +C",
    "T1 POST FAT SAT", "POST OP T1 +GD", "AX T1 FLAIR +C",
)  # fmt: skip
IN_DOUBT = (
    "T1 C", "T1 - Gd", "T1 +/- C", "T1 pre/post Gd", "T1 with and without contrast", "T1 mit und ohne KM", "T1 w/wo",
    "T1 avant et après gado", "T1 antes y después de contraste", "T1 prima e dopo mdc", "T1 voor en na Gd",
)  # fmt: skip
NONE_OF_THEM = (
    "T1 SUB", "T1 MIP", "T1 map", "T2 map", "T2 relaxometry", "T1 Subtraktion", "T1 soustraction", "T2* GRE",
    "T2 star", "T2 FFE", "T2 hemo", "t2_fl2d", "T2 étoile", "T2 eco de gradiente", "SWI", "ep2d T2", "T2 EPI",
    "T2 ADC", "DWI b1000", "Diffusione", "T2 localizer", "T1 Übersicht", "T1 repérage", "T2 C-Spine", "T1 HWS",
    "T1 lumbar", "T1 rachis", "T1 columna lumbar", "T1 Neck", "PD", "PD/T2", "T2 STIR", "T1 MRA", "3D TOF", "T1 DCE",
    "T1 dynamic", "perfusion", "ASL", "T2 CISS", "T2 FIESTA", "spectro T1", "T1 mp2rage INV2", "synthetic T2",
    "T1 mask",
)  # fmt: skip


@pytest.mark.parametrize("description", [*PLAIN, *GLUED_PLAIN, *OTHER_SCRIPTS_PLAIN])
def test_a_t1_without_contrast(description: str) -> None:
    assert guess(replace(T1, description=description)) == "t1"
    assert judge(replace(T1, description=description)).weighting == "t1"


@pytest.mark.parametrize("description", [*ENHANCED, *LAST_C, *GLUED_ENHANCED, *OTHER_SCRIPTS_ENHANCED])
def test_a_t1_with_contrast(description: str) -> None:
    assert guess(replace(T1, description=description)) == "t1ce"


@pytest.mark.parametrize("description", IN_DOUBT)
def test_a_t1_of_both_stays_open(description: str) -> None:
    verdict = judge(replace(T1, description=description))
    assert (verdict.weighting, verdict.contrast, verdict.sequence) == ("t1", "doubt", None)


@pytest.mark.parametrize("description", NONE_OF_THEM)
def test_what_is_none_of_the_four(description: str) -> None:
    assert guess(Acquisition(description)) is None


@pytest.mark.parametrize("description", [
    "t2_tirm_tra", "t2_spc_ir_sag_iso", "T2 IR", "T2 dark fluid", "T2-FLAIR", "FLAIR nach KM", "FLAIR + Gd",
    "eFLAIR_longTR", "CUBE T2FLAIR", "T2 TIRM ohne KM", "flair post gado", "ax", "",
])  # fmt: skip
def test_an_inversion_of_fluid_is_flair_whatever_it_is_called(description: str) -> None:
    assert guess(replace(FLAIR, description=description)) == "flair"


def test_an_inversion_of_fat_is_not() -> None:
    for description in ("t2_tirm_cor", "T2 IR FS", ""):
        assert guess(replace(FLAIR, description=description, inversion_ms=160, echo_ms=60)) is None


@pytest.mark.parametrize(
    "description", ["T2 TSE", "T2 nach KM", "T2 POST OP", "T2 FS", "t2_blade", "T2 SPACE", "AX T2 with contrast", ""]
)
def test_a_t2_stays_one_after_contrast(description: str) -> None:
    assert guess(replace(T2, description=description, contrast_agent="Gadovist")) == "t2"


@pytest.mark.parametrize("description", ["T2 AX", "T2W", "AX T2 blood", "T1", "ax", ""])
def test_a_late_gradient_echo_is_neither(description: str) -> None:
    assert guess(replace(GRADIENT, description=description)) is None


@pytest.mark.parametrize(
    ("found", "sequence"),
    [
        ({"contrast_agent": "Gadovist"}, "t1ce"),
        ({"agent_codes": 1}, "t1ce"),
        ({"agent_volume_ml": 7.5}, "t1ce"),
        ({"agent_route": "INTRAVENOUS"}, "t1ce"),
        ({"agent_given": "YES", "agent_codes": 1}, "t1ce"),
        ({"agent_given": "NO", "agent_codes": 1}, "t1"),
        ({"contrast_agent": "NONE", "agent_route": "IV"}, "t1"),
        ({"contrast_agent": "ohne", "agent_volume_ml": 0.0}, "t1"),
        ({"contrast_agent": "Gadovist", "agent_volume_ml": 0.0}, "t1"),
    ],
)
def test_an_agent_counts_wherever_it_stands(found: Mapping[str, Any], sequence: str) -> None:
    assert guess(replace(T1, description="T1 AX", **found)) == sequence


def test_words_on_contrast_outweigh_an_agent_that_was_left_in_the_protocol() -> None:
    assert guess(replace(T1, description="T1 nativ", contrast_agent="Gadovist")) == "t1"
    assert guess(replace(T1, description="T1 +C", contrast_agent="NONE")) == "t1ce"


def test_a_protocol_tells_of_contrast_only_where_it_tells_the_weighting() -> None:
    assert guess(replace(T2, description="AX", protocol="T2 TSE")) == "t2"
    assert guess(Acquisition("AX T1 SE", protocol="BRAIN W/WO CONTRAST")) == "t1"
    assert guess(Acquisition("", protocol="t1_se_tra_KM")) == "t1ce"
    assert guess(Acquisition("MPR", protocol="t1_vibe_fs_cor_KM")) == "t1ce"


@pytest.mark.parametrize(
    ("part", "sequence"),
    [
        ("HEAD", "t1"),
        ("HEAD_NECK", "t1"),
        ("BRAIN", "t1"),
        ("NECK", None),
        ("CSPINE", None),
        ("C-SPINE", None),
        ("LWS", None),
    ],
)
def test_the_body_part_of_the_header_counts(part: str, sequence: str | None) -> None:
    assert guess(replace(T1, description="T1 SAG", body_part=part)) == sequence
    assert guess(replace(T1, description="T1 SAG brain", body_part=part)) == "t1"


def test_an_inversion_of_which_no_time_is_told_is_no_t2() -> None:
    for description in ("t2_tirm_tra", "T2 IR", "t2_spc_ir"):
        assert guess(Acquisition(description)) is None
        assert guess(replace(T2, description=description, scanning_sequence=())) is None


def test_words_against_timings_leave_it_open() -> None:
    assert guess(replace(T2, description="T1 AX")) is None
    assert guess(replace(T1, description="T2 AX")) is None


def test_a_reason_is_an_entry_of_the_table() -> None:
    verdict = judge(replace(T1, description="SAG T1 post KM, Doe^Jane", contrast_agent="Gadovist"))
    names = {entry.name for entry in series_table().entries}
    assert set(verdict.entries) <= names
    assert {"t1-word", "contrast-word", "agent-named", "spin-echo-of-t1"} <= set(verdict.entries)
    assert all("Doe" not in series_table().says(name) for name in verdict.entries)


def edited(old: str, new: str) -> dict[str, Any]:
    text = PATH.read_text(encoding="utf-8")
    assert old in text
    return tomllib.loads(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('points = { t1 = 6 }', 'points = { t3 = 6 }', "t1-word: points are for"),
        ('negated = "negated-contrast"', 'negated = "nobody"', "contrast-word: there is no entry nobody"),
        ('name = "flip-angle-word"', 'name = "t1-word"', "two entries bear one name"),
        ("when = { diffusion = true }", "when = { diffusions = true }", "diffusion-weighted: unknown in when"),
        ('fr = ["sans", "avant"', 'tlh = ["sans", "avant"', "unknown languages: tlh"),
    ],
)  # fmt: skip
def test_a_fault_in_the_table_is_named(old: str, new: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_table(edited(old, new))


def test_every_remark_that_code_makes_is_in_the_table() -> None:
    table = series_table()
    for name in (
        "lower-score", "contrast-in-doubt", "weighting-in-doubt", "nothing-like-it", "named-by-caller", "two-values",
        "unreadable", "incomplete", "too-few-slices", "no-even-stack", "several-volumes", "elsewhere",
        "before-contrast", "after-contrast", "one-of-several-echoes", "latest-of-repeats", "earliest-of-repeats",
        "original", "three-dimensional", "coverage", "resolution", "axial", "part-of-the-head",
    ):  # fmt: skip
        assert table.says(name).endswith(".")
    assert table.spoken | table.bolus <= {entry.name for entry in table.entries}


def test_a_protocol_with_contrast_leaves_a_silent_t1_in_doubt() -> None:
    """One that says with and without is that of the whole examination, in which those after contrast are named so."""
    assert guess(Acquisition("AX T1 SE", protocol="BRAIN POST CONTRAST")) is None
    assert guess(Acquisition("AX T1 SE", protocol="BRAIN WITH AND WITHOUT")) == "t1"
    assert guess(Acquisition("AX T1 SE PRE", protocol="BRAIN POST CONTRAST")) == "t1"
    assert guess(Acquisition("AX T2 TSE", protocol="BRAIN POST CONTRAST")) == "t2"


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("T1 TSE cor + k.l.", "t1ce"),
        ("AX 3D SPGRC", "t1ce"),
        ("AX T1 + GAD", "t1ce"),
        ("T1 SE tra + xyz", None),
        ("T1 SE tra + fs", "t1"),
        ("T1 SE tra+cor", "t1"),
    ],
)
def test_something_added_to_a_t1_may_be_contrast(description: str, sequence: str | None) -> None:
    assert guess(Acquisition(description)) == sequence
