import json

import numpy as np
import pandas as pd
import pytest

from kontrast.artifacts.card import claim, read_card
from kontrast.artifacts.evaluation import decimal, read_evaluation, say_scores, write_evaluation
from kontrast.errors import ArtifactError
from kontrast.metrics.evaluation import score_table
from kontrast.types import TRUTH_COLUMNS


def write(folder, n: int = 30, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame({name: [f"{name}{i}" for i in range(n)] for name in TRUTH_COLUMNS})
    truth["age"] = np.where(np.arange(n) % 3 == 0, np.nan, 40.5)
    truth["Edema"], truth["Odd, name"] = rng.choice([1, 0, -1, np.nan], n), rng.choice([1.0, 0.0], n)
    p = rng.random((n, 2))
    scores = score_table(
        (truth[["Edema", "Odd, name"]] == 1).astype(float), p, ["Edema", "Odd, name"], replicates=20,
        label_policy={"uncertain": "zeros", "blank": "negative"}, split="test",
    )  # fmt: skip
    taken = claim(folder, "evaluation", config={})
    write_evaluation(
        taken.folder, truth=truth.assign(secret="x"), predictions=p, findings=["Edema", "Odd, name"], scores=scores,
        config={}, content={"more": 1},
    )  # fmt: skip
    return truth, p


def test_what_was_written_is_read_to_the_last_bit(tmp_path) -> None:
    truth, p = write(tmp_path / "e")
    read = read_evaluation(tmp_path / "e")
    assert np.array_equal(read.predictions[list(read.findings)].to_numpy(), p)
    pd.testing.assert_frame_equal(read.truth, truth, check_dtype=False)
    assert list(read.predictions["image_id"]) == list(truth["image_id"])
    assert read.scores["findings"]["Edema"]["n"] == 30 and read.card.content["more"] == 1
    assert list(read.truth) == [*TRUTH_COLUMNS, "Edema", "Odd, name"]


def test_files_are_those_of_the_design(tmp_path) -> None:
    write(tmp_path / "e")
    header, first = (tmp_path / "e" / "truth.csv").read_text().splitlines()[:2]
    assert header == 'image_id,patient_id,study_id,split,view,sex,age,Edema,"Odd, name"'
    assert first.startswith("image_id0,patient_id0,study_id0,split0,view0,sex0,,") and ".0" not in first
    assert (tmp_path / "e" / "predictions.csv").read_text().startswith('image_id,Edema,"Odd, name"\n')
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert {"split", "label_policy", "findings", "macro", "interval"} <= set(scores)
    assert set(scores["findings"]["Edema"]["auroc"]) >= {"value", "low", "high"}
    assert set(read_card(tmp_path / "e").files) == {"predictions.csv", "truth.csv", "scores.json"}


@pytest.mark.parametrize("name", ["predictions.csv", "truth.csv", "scores.json"])
def test_a_changed_file_is_noticed(tmp_path, name: str) -> None:
    write(tmp_path / "e")
    path = tmp_path / "e" / name
    path.write_bytes(path.read_bytes()[:-3] + b"9\n\n")
    with pytest.raises(ArtifactError, match=name):
        read_evaluation(tmp_path / "e")


def test_the_printed_table_fits_80_columns_and_says_the_policy(capsys) -> None:
    rng = np.random.default_rng(0)
    names = ["Enlarged Cardiomediastinum", "Pleural Effusion", "Fracture"]
    y = np.stack([np.arange(200) % 2, np.arange(200) < 4, np.zeros(200)], axis=1).astype(float)
    scores = score_table(
        y, rng.random((200, 3)), names, replicates=30, split="test", thresholds={names[0]: {"value": 0.5}},
        label_policy={"uncertain": "zeros", "blank": "negative"},
    )  # fmt: skip
    say_scores(scores)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:12])) <= 80
    text = "\n".join(lines)
    assert "uncertain = zeros, blank = negative" in text and "30 bootstrap replicates of rows" in text
    assert "Fracture: no positive among 200 labelled images." in text
    assert "Pleural Effusion: wide: only 4 positive cases" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8741, ".874"),
        (1.0, "1.00"),
        (0.9999, "1.00"),
        (-0.0214, "-.021"),
        (0.0, ".000"),
        (None, "–"),
        (-1.0, "-1.00"),
    ],
)
def test_decimals_as_papers_print_them(value: float | None, text: str) -> None:
    assert decimal(value) == text
