"""What the page reads of DICOM headers and makes of them, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.sequence import guess
from tests.fixtures.images import make_dicom
from tests.fixtures.servers import Server, free_port, running
from tests.support.browser import OpenTab, wait_for_port


@pytest.fixture(scope="module")
def gateway() -> Iterator[Server]:
    """A gateway that serves the page and nothing else."""
    nobody = f"http://127.0.0.1:{free_port()}"
    urls = {"FALX_CLASSIFIER_URL": nobody, "FALX_SEGMENTER_URL": nobody}
    with running("gateway", urls, wait_ready=False) as server:
        wait_for_port(server)
        yield server


HEADER_OF = """async (bytes) => {
    const { headerOf } = await import("/page/js/volume/dicom.js");
    try { return headerOf(new Uint8Array(bytes)); } catch (error) { return error.name; }
}"""


def header_in_page(page: Page, data: bytes) -> Any:
    """What the page reads of a file's beginning."""
    return page.evaluate(HEADER_OF, list(data))


def without_length(data: bytes) -> bytes:
    """The file with its ProcedureCodeSequence of undefined length, as many scanners write it."""
    at = data.index(b"\x08\x00\x32\x10") + 4
    at += 4 if data[at : at + 2] == b"SQ" else 0
    end = at + 4 + int.from_bytes(data[at : at + 4], "little")
    return data[:at] + b"\xff" * 4 + data[at + 4 : end] + b"\xfe\xff\xdd\xe0" + bytes(4) + data[end:]


def test_headers_are_read_in_the_page(gateway: Server, open_tab: OpenTab) -> None:
    page = open_tab(gateway, "/#volumes")
    item = Dataset()
    item.CodeMeaning, item.ProcedureCodeSequence = "MR head", Sequence([Dataset()])
    item["ProcedureCodeSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    nested = Sequence([item])
    elements = {
        "SpecificCharacterSet": "ISO_IR 192", "ProcedureCodeSequence": nested, "SeriesDescription": "Schädel axial",
        "SeriesInstanceUID": "1.2.3", "EchoTime": 95, "ScanningSequence": ["SE", "IR"],
    }  # fmt: skip
    for syntax in (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.RLELossless):
        data = without_length(make_dicom(elements=elements, transfer_syntax=syntax))
        found = header_in_page(page, data)
        assert (found["modality"], found["description"], found["uid"]) == ("MR", "Schädel axial", "1.2.3")
        assert (found["sopClass"], found["echo"], found["scanning"]) == (uid.MRImageStorage, "95.0", "SE\\IR")
    for cut in range(132, data.index(b"1.2.3\0"), 9):
        found = header_in_page(page, data[:cut])
        assert found == "RangeError" or found["uid"] == ""
    big = make_dicom(transfer_syntax=uid.ExplicitVRBigEndian)
    assert header_in_page(page, big) == "SyntaxError"
    deflated = make_dicom(transfer_syntax=uid.DeflatedExplicitVRLittleEndian)
    assert header_in_page(page, deflated) == "SyntaxError"
    assert header_in_page(page, b"a letter to the doctor" * 20) is None


SPIN_ECHO = ("SE",)
ACQUISITIONS = [
    *(Acquisition(text) for text in (
        "AX T2 FLAIR", "t1_mprage_sag", "T1 post", "t1 pre contrast", "T1+C", "t2_tse", "ep2d_diff_ADC", "t2*_gre",
        "t2_haste_localizer", "t1 t2 map", "T1 FLAIR", "brain", "", "PD/T2", "ax_t2_tirm_dark-fluid", "t1c",
    )),
    Acquisition("t1_se_ax", "Gadovist"), Acquisition("t1 nativ", "Gadovist"), Acquisition("t1_se_ax", "NONE"),
    Acquisition("", "", SPIN_ECHO, 95, 5_000), Acquisition("", "", SPIN_ECHO, 95, 9_000, 2_500),
    Acquisition("", "", SPIN_ECHO, 12, 9_000, 2_500), Acquisition("", "", SPIN_ECHO, 12, 500),
    Acquisition("", "Gadovist", SPIN_ECHO, 12, 500), Acquisition("", "", ("GR",), 12, 500),
    Acquisition("", "", SPIN_ECHO, 12, 5_000), Acquisition("", "", SPIN_ECHO, None, 500),
    Acquisition("t2_tirm_tra", "", ("SE", "IR"), 100, 9_000, 2_500), Acquisition("t2w", "", ("GR",), 20, 600),
    Acquisition("t1 ohne km", "", SPIN_ECHO, 12, 500), Acquisition("t1 sans gado", "", SPIN_ECHO, 12, 500),
]  # fmt: skip


def test_the_page_guesses_as_the_server_does(gateway: Server, open_tab: OpenTab) -> None:
    page = open_tab(gateway, "/#volumes")
    found = {}
    for acquisition in ACQUISITIONS:
        elements = {
            "SeriesDescription": acquisition.description, "ContrastBolusAgent": acquisition.contrast_agent,
            "ScanningSequence": list(acquisition.scanning_sequence), "EchoTime": acquisition.echo_ms,
            "RepetitionTime": acquisition.repetition_ms, "InversionTime": acquisition.inversion_ms,
        }  # fmt: skip
        header = header_in_page(page, make_dicom(elements=elements))
        found[acquisition] = page.evaluate(
            "(header) => import('/page/js/volume/sequences.js').then((module) => module.guessSeries(header))", header
        )
    assert found == {acquisition: guess(acquisition) or "" for acquisition in ACQUISITIONS}
    assert set(found.values()) == {"", "t1", "t1ce", "t2", "flair"}
