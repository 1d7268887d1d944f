"""Nothing of a DICOM header but the fields that are used reaches anything written: every text element is a canary."""

import re
import subprocess
import sys

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.cli import main
from kontrast.data.decode.dicom_writer import encode_radiograph
from stages.sources import files

pytestmark = pytest.mark.usefixtures("key")
TEXTS = {"AE": 16, "AS": 4, "CS": 16, "DA": 8, "DS": 16, "DT": 26, "IS": 12, "LO": 64, "LT": 200, "PN": 64, "SH": 16}
TEXTS |= {"ST": 200, "TM": 14, "UC": 200, "UI": 60, "UR": 200, "UT": 200}
NEEDED = {"PhotometricInterpretation", "SOPInstanceUID", "SOPClassUID", "NumberOfFrames", "SpecificCharacterSet"}
ALLOWED = {"Manufacturer", "ManufacturerModelName"}
"""These two enter the table's column `device`, and nothing else does as it is."""
MARK = b"Qz7"


def canaries(dataset):
    """Give every text element that the dictionary knows, and a private block, a value that is its own; their number."""
    count = 0
    for tag, (vr, *_, keyword) in sorted(DicomDictionary.items()):
        if vr in TEXTS and keyword not in NEEDED and tag >> 16 not in (0, 2, 4) and keyword_for_tag(tag):
            value = f"Qz7{count:05d}x"
            if vr == "UI":
                value = f"1.2.{count}.Qz7"
            dataset.add(DataElement(tag, vr, value[: TEXTS[vr]], already_converted=vr in ("DS", "IS")))
            count += 1
    block = dataset.private_block(0x0099, "Qz7private", create=True)
    block.add_new(1, "LO", "Qz7value")
    item = Dataset()
    item.PatientName, item.TextValue = "Qz7nested^Name", "Qz7nested text"
    dataset.OtherPatientIDsSequence = [item]
    return count


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Files full of canaries: good ones, and others broken in all the ways that come to mind."""
    src = tmp_path_factory.mktemp("canaries") / "scans"
    src.mkdir()
    grey = np.linspace(0, 4095, 1200).reshape(40, 30).astype(np.uint16)
    data = encode_radiograph(grey, bits=12, inverted=False, uids={"SOPInstanceUID": ["a"]}, elements={})
    (src / "raw").write_bytes(data)
    file = dcmread(src / "raw")
    (src / "raw").unlink()
    assert canaries(file) > 1500
    for name in ("window", "plain"):
        if name == "plain":
            for element in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
                delattr(file, element)
        file.save_as(src / f"{name}.dcm")
    whole = (src / "plain.dcm").read_bytes()
    for copy in range(16):  # `prepare` stops where most files are bad
        (src / f"copy{copy}.dcm").write_bytes(whole)
    for at in (200, 5_000, 20_000, len(whole) // 2, len(whole) - 900):
        (src / f"cut{at}.dcm").write_bytes(whole[:at])
    rng = np.random.default_rng(0)
    for seed in range(8):
        broken = bytearray(whole)
        for at in rng.integers(132, len(whole), 40):
            broken[at] = rng.integers(0, 256)
        (src / f"flip{seed}.dcm").write_bytes(bytes(broken))
    for element, value in (("NumberOfFrames", "7"), ("PhotometricInterpretation", "Qz7MONO"), ("Rows", 0)):
        before = file[element].value if element in file else None
        setattr(file, element, value)
        file.save_as(src / f"no{element}.dcm")
        setattr(file, element, before if before is not None else 1)
    file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dcmwrite(src / "implicit.dcm", file, implicit_vr=True, little_endian=True)
    return src


def found(*texts):
    """The canaries in some bytes."""
    return sorted({match.decode() for text in texts for match in re.findall(rb"\S*Qz7\S*", text)})


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, while the canaries are put in
def test_no_canary_is_written_anywhere(scans, tmp_path, capfd):
    out = tmp_path / "out"
    out.mkdir()
    kontrast.scan(scans, html=out / "scan.html")
    kontrast.prepare(scans, out=out / "pack", size=32)
    kontrast.audit(out / "pack", out=out / "audit")
    kontrast.report(out / "pack", out=out / "report.html")
    for words in (
        ["prepare", scans, "--out", out / "pack", "--size", "32", "--json"],
        ["prepare", scans, "--out", out / "pack", "--size", "48", "--debug"],
        ["prepare", scans, "--out", out / "q", "--only", "flip*", "--debug"],
        ["scan", scans, "--json", "--debug"],
        ["pack", "verify", out / "pack"],
    ):
        with pytest.raises(SystemExit):
            main([str(word) for word in words])
    said = capfd.readouterr()
    pack = Pack.open(out / "pack")
    assert {"window.dcm", "plain.dcm", "implicit.dcm"} <= set(pack.table["source"])
    devices = {device.encode() for device in pack.table["device"]}
    assert any(MARK in device for device in devices)
    for name, content in files(out).items():
        for device in devices if name.endswith("table.csv") else ():
            content = content.replace(device, b"")
        assert found(content) == [], name
    assert found(said.out.encode(), said.err.encode()) == []
    reasons = (out / "pack" / "rejects.csv").read_text()
    assert reasons.count("\n") >= 6 and "unexpected" not in reasons


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_crash_with_debug_quotes_no_header_either(scans, tmp_path):
    """With --debug a traceback is shown: it must hold no value of a header, however deep the fault."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import kontrast.data.decode.dicom as d\n"
        "def broken(dataset, *more, **k):\n    raise KeyError(str(dataset.get('PatientName')))\n"
        "d.header_of = broken\n"
    )
    path = ":".join([str(site), *sys.path])
    words = [sys.executable, "-m", "kontrast", "prepare", str(scans), "--out", str(tmp_path / "p"), "--debug"]
    done = subprocess.run(words, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path,
                          "HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert found(done.stdout, done.stderr, *files(tmp_path).values()) == []
