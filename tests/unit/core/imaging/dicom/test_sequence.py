"""What a header's words and timings say of the sequence, and where they leave a doubt."""

from __future__ import annotations

import pytest

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.sequence import guess


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("AX T1 SE", "t1"),
        ("t1_mprage_sag_p2_iso", "t1"),
        ("AX T1 POST GD", "t1ce"),
        ("T1 post", "t1ce"),
        ("T1 +C", "t1ce"),
        ("t1_tse_tra_km", "t1ce"),
        ("SAG T1 PRE CONTRAST", "t1"),
        ("AX T1 FLAIR", "t1"),
        ("AX T2 TSE", "t2"),
        ("t2_blade_tra", "t2"),
        ("AX FLAIR", "flair"),
        ("t2_flair_dark-fluid", "flair"),
        ("T2 FLAIR +C", "flair"),
        ("AX T2* GRE", None),
        ("ep2d_diff_t2", None),
        ("T1 T2 mapping", None),
        ("3D TOF MRA", None),
        ("localizer t1", None),
        ("SWI T2", None),
        ("AX STIR T2", None),
        ("head routine", None),
        ("", None),
    ],
)
def test_the_description(description: str, expected: str | None) -> None:
    assert guess(Acquisition(description)) == expected


@pytest.mark.parametrize("agent", ["Gadovist", "YES", "Dotarem 10 ml"])
def test_a_contrast_agent_makes_t1_a_t1ce(agent: str) -> None:
    assert guess(Acquisition("AX T1", contrast_agent=agent)) == "t1ce"


@pytest.mark.parametrize("agent", ["", "NONE", "no"])
def test_no_contrast_agent_leaves_t1(agent: str) -> None:
    assert guess(Acquisition("AX T1", contrast_agent=agent)) == "t1"


@pytest.mark.parametrize(
    ("echo", "repetition", "inversion", "kinds", "expected"),
    [
        (12.0, 500.0, None, ("SE",), "t1"),
        (100.0, 4500.0, None, ("SE",), "t2"),
        (120.0, 9000.0, 2500.0, ("SE", "IR"), "flair"),
        (12.0, 3000.0, None, ("SE",), None),  # proton density
        (50.0, 1500.0, None, ("SE",), None),
        (100.0, 4500.0, 150.0, ("SE", "IR"), None),  # STIR
        (4.0, 20.0, None, ("GR",), None),
        (None, 500.0, None, ("SE",), None),
        (12.0, None, None, ("SE",), None),
    ],
)
def test_timings_speak_where_words_do_not(
    echo: float | None, repetition: float | None, inversion: float | None, kinds: tuple[str, ...], expected: str | None
) -> None:
    acquisition = Acquisition(scanning_sequence=kinds, echo_ms=echo, repetition_ms=repetition, inversion_ms=inversion)
    assert guess(acquisition) == expected
