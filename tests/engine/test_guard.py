"""What a run that must stop says."""

import numpy as np
import pytest
import torch

from engine.tiny import FakePack
from kontrast.engine.batches import Batches
from kontrast.engine.guard import FiniteCheck
from kontrast.errors import TrainingError


def test_the_partners_of_the_images_are_named_too(tmp_path):
    batches = Batches([(FakePack(), np.arange(40))], 8, 3, "cpu", groups=np.arange(40) // 2)
    batch = batches.at(0)
    with pytest.raises(TrainingError) as error:
        FiniteCheck(tmp_path, batches.ids).watch(torch.tensor(float("nan")), None, batch.step)
    named = (tmp_path / "nonfinite-00000001.csv").read_text().split()[1:]
    assert set(named) == {*batch.ids, *batch.partner_ids} and len(named) == len(set(named)) > 8
    assert all(name in error.value.problem for name in named)
