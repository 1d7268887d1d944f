"""What a probe freezes belongs to the classifier that it saves."""

import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.pack import Pack
from kontrast.engine.features import predict
from kontrast.engine.probing import fit_probe
from kontrast.engine.supervision import frozen, labelled
from kontrast.nn.encoders import EncoderSpec, build_encoder


@pytest.mark.parametrize("near", [True, False])
def test_calibration_and_thresholds_are_fitted_on_what_the_saved_head_gives(tmp_path, near: bool) -> None:
    """Three neighbours often agree, and their votes of 0 and 1 have the logits that the head gives them."""
    pack = Pack.open(make_pack(tmp_path / "p", n=120, size=16, unclear=0.0, splits=(0.5, 0.4)))
    task = labelled(pack, label_fraction=1.0, uncertain="zeros", blank="negative", findings=(), seed=0)
    spec = EncoderSpec("resnet18", pack.size, mean=pack.mean, std=pack.std)
    cpu = torch.device("cpu")
    probe = fit_probe(build_encoder(spec, seed=0), spec, task, device=cpu, neighbours=3, calibrate="platt", near=near)
    expected = frozen(task, predict(probe.classifier, pack, task.val, cpu, raw=True), "f1", "platt")
    for finding, fit in expected["calibration"]["findings"].items():
        assert fit["reason"] is None and fit["slope"] != 1
        got = probe.frozen["calibration"]["findings"][finding]
        # float32 next to 1 steps by 6e-8, where the head holds its votes 1e-6 away
        assert (got["slope"], got["intercept"]) == pytest.approx((fit["slope"], fit["intercept"]), rel=2e-2, abs=2e-2)
        ours, theirs = (one["thresholds"][finding]["value"] for one in (probe.frozen, expected))
        assert ours == pytest.approx(theirs, rel=2e-2)
