import importlib.metadata
import json
import subprocess
import sys

import pytest

import kontrast
from kontrast.stages import doctor as stage


@pytest.fixture
def key(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KONTRAST_KEY", raising=False)
    file = tmp_path / ".config" / "kontrast" / "patient.key"
    file.parent.mkdir(parents=True)
    return file


def versions(monkeypatch, **changed):
    real = importlib.metadata.version

    def version(name):
        found = changed.get(name.replace("-", "_"), real)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found if isinstance(found, str) else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_this_machine_can_work(key, capsys):
    outcome = kontrast.doctor()
    lines = capsys.readouterr().out.splitlines()
    states = [line.split()[0] for line in lines if line and line.split()[0] in ("PASS", "WARN", "FAIL")]
    assert len(states) == len(stage.CHECKS) == len(outcome.summary["checks"])
    assert outcome.exit_code == int("FAIL" in states)
    assert not key.exists(), "looking must not make a key"
    for check in outcome.summary["checks"]:
        assert check["fix"] or check["state"] == "PASS"


def test_json_and_exit_code(key):
    command = [sys.executable, "-m", "kontrast", "doctor", "--json"]
    key.write_text("not a key")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    facts = json.loads(done.stdout)
    assert done.returncode == 1 and facts["fail"] >= 1
    assert next(c for c in facts["checks"] if c["name"] == "patient key")["state"] == "FAIL"


def test_old_torch_fails(monkeypatch):
    for version, state in (("2.9.1", "FAIL"), ("2.10.0+cpu", "PASS"), ("2.13.0", "PASS"), (None, "FAIL")):
        versions(monkeypatch, torch=version)
        check = stage._check_torch()
        assert check.state == state and ("pip install" in check.fix) == (state == "FAIL")


def test_old_pydicom_fails_and_missing_decoders_warn(monkeypatch):
    versions(monkeypatch, pydicom="3.0.1")
    assert stage._check_dicom().state == "FAIL"
    versions(monkeypatch, pydicom="3.0.2", imagecodecs=None)
    check = stage._check_dicom()
    assert check.state == "WARN" and "JPEG-LS" in check.found and check.fix == "pip install imagecodecs"


def test_missing_packages_fail(monkeypatch):
    versions(monkeypatch, safetensors=None)
    check = stage._check_packages()
    assert check.state == "FAIL" and check.fix == "pip install safetensors"


@pytest.mark.parametrize(("body", "state"), [("raise RuntimeError('operator torchvision::nms')", "WARN"), ("", "PASS")])
def test_a_broken_torchvision_is_found_without_importing_it_here(monkeypatch, tmp_path, body, state):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert stage._check_torchvision().state == state
    assert "torchvision" not in sys.modules


def test_a_key_that_others_can_read(key):
    key.write_text("ab" * 32)
    key.chmod(0o644)
    check = stage._check_patient_key()
    assert check.state == "WARN" and check.fix == f"chmod 600 {key}"
    key.chmod(0o600)
    assert stage._check_patient_key().state == "PASS"
    assert "ab" * 32 not in stage._check_patient_key().found


def test_a_key_that_is_named_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "typo.key"))
    check = stage._check_patient_key()
    assert check.state == "FAIL" and "$KONTRAST_KEY names" in check.found and not (tmp_path / "typo.key").exists()


def test_a_full_disk_fails(monkeypatch):
    usage = stage.shutil.disk_usage("/")
    for free, state in ((2**20, "FAIL"), (2**30, "WARN"), (2**40, "PASS")):
        monkeypatch.setattr(stage.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert stage._check_disk().state == state


def test_threads_held_back(monkeypatch):
    monkeypatch.setattr(stage.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert stage._check_cores().state == "WARN"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert stage._check_cores().state == "PASS"


def test_imagenet_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("KONTRAST_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert stage._check_imagenet_weights().state == "WARN"
    (tmp_path / "resnet50-11ad3fa6.safetensors").write_bytes(b"")
    check = stage._check_imagenet_weights()
    assert check.state == "PASS" and "resnet50" in check.found
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"half")
    assert stage._check_imagenet_weights().state == "FAIL"


def test_a_check_that_breaks_is_a_finding(monkeypatch, key):
    def _check_moon():
        raise OSError("secret path")

    monkeypatch.setattr(stage, "CHECKS", (_check_moon,))
    outcome = kontrast.doctor()
    assert outcome.exit_code == 1 and outcome.summary["checks"][0]["name"] == "moon"
    assert "secret" not in json.dumps(outcome.summary)
