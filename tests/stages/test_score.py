import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score, roc_auc_score, roc_curve

import kontrast
from kontrast.artifacts.evaluation import read_evaluation, scored_cases
from kontrast.artifacts.foreign import match
from kontrast.artifacts.wording import decimal
from kontrast.errors import DataError, OutputError, UsageError

CHEXPERT = Path(__file__).parents[3] / "shared" / "data" / "chexpert_labels" / "test"


def files(folder: Path, n: int = 60, seed: int = 0) -> tuple[Path, Path, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "patient_id": [f"p{k // 2}" for k in range(n)]})
    table["A"], table["B"] = rng.choice([0, 1], n), rng.choice([0, 1, -1, np.nan], n)
    p = pd.DataFrame({"B": rng.random(n), "image_id": table["image_id"], "A": rng.random(n)})
    table.to_csv(folder / "t.csv", index=False)
    p.sample(frac=1, random_state=seed).to_csv(folder / "p.csv", index=False)
    return folder / "p.csv", folder / "t.csv", table.merge(p, on="image_id", suffixes=("", "_p"))


def scores_of(out) -> dict:
    return json.loads((Path(out) / "scores.json").read_text())


def test_scores_equal_scikit_learn_with_the_policy_applied(tmp_path) -> None:
    p, t, table = files(tmp_path)
    (tmp_path / "th.json").write_text('{"A": 0.4}')
    out = kontrast.score(
        p, t, out=tmp_path / "s", uncertain="ones", blank="ignore", replicates=50, thresholds=tmp_path / "th.json"
    )
    found = scores_of(out)
    known = table["B"].notna()
    assert found["findings"]["B"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(table["B"][known] != 0, table["B_p"][known]), abs=1e-12
    )
    assert found["findings"]["A"]["f1"]["value"] == pytest.approx(f1_score(table["A"], table["A_p"] >= 0.4), abs=1e-12)
    assert found["findings"]["B"]["f1"] == {
        "value": None, "low": None, "high": None, "reason": "no threshold in the file",
    }  # fmt: skip
    assert found["label_policy"] == {"uncertain": "ones", "blank": "ignore"}
    assert found["interval"]["resampled"] == "patients" and found["patients"] == 30
    assert out.summary["macro"]["auroc"]["value"] == found["macro"]["auroc"]["value"]


def test_the_order_of_rows_and_columns_of_the_predictions_is_nothing(tmp_path) -> None:
    p, t, _ = files(tmp_path)
    one = scores_of(kontrast.score(p, t, out=tmp_path / "1", replicates=20))
    pd.read_csv(p, dtype=str).iloc[::-1, ::-1].to_csv(p, index=False)
    assert scores_of(kontrast.score(p, t, out=tmp_path / "2", replicates=20)) == one


def test_again_it_is_done_and_changed_files_are_refused(tmp_path) -> None:
    p, t, _ = files(tmp_path)
    first = kontrast.score(p, t, out=tmp_path / "s", replicates=20)
    again = kontrast.score(p, t, out=tmp_path / "s", replicates=20)
    assert again.status == "already done" and again.summary == first.summary
    files(tmp_path, seed=1)
    with pytest.raises(OutputError, match="other inputs: not the same predictions and truth") as error:
        kontrast.score(p, t, out=tmp_path / "s", replicates=20)
    assert "sha256" not in str(error.value)


def test_cases_that_are_no_test_are_marked(tmp_path, capsys) -> None:
    p, t, _ = files(tmp_path)
    for split, marked in (("val", True), ("test", False)):
        pd.read_csv(t).assign(split=split).to_csv(t, index=False)
        found = scores_of(kontrast.score(p, t, out=tmp_path / split, replicates=5))
        assert found["overlap"]["patients"] == "unknown" and found["overlap"]["text"].startswith("unknown, since")
        assert found["split"] == split and ("the figures flatter" in found["note"]) == marked
        assert ("the figures flatter" in capsys.readouterr().err) == marked


def test_dry_run_writes_nothing(tmp_path) -> None:
    p, t, _ = files(tmp_path)
    assert kontrast.score(p, t, out=tmp_path / "s", dry_run=True).status == "planned"
    assert not (tmp_path / "s").exists()


def test_what_is_refused_leaves_the_folder_free(tmp_path) -> None:
    p, t, _ = files(tmp_path)
    with pytest.raises(UsageError, match="soft is for training"):
        kontrast.score(p, t, out=tmp_path / "s", uncertain="soft")
    with pytest.raises(UsageError, match="Did you mean 'zeros'"):
        kontrast.score(p, t, out=tmp_path / "s", uncertain="zeroes")
    with pytest.raises(DataError):
        kontrast.score(p, tmp_path / "none.csv", out=tmp_path / "s")
    with pytest.raises(UsageError, match="--replicates"):
        kontrast.score(p, t, out=tmp_path / "s", replicates=-1)
    assert not (tmp_path / "s").exists()


def test_without_patients_rows_are_resampled_and_that_is_said(tmp_path, capsys) -> None:
    p, t, _ = files(tmp_path)
    pd.read_csv(t, dtype=str).drop(columns="patient_id").to_csv(t, index=False)
    found = scores_of(kontrast.score(p, t, out=tmp_path / "s", replicates=20))
    assert found["interval"]["resampled"] == "rows" and found["patients"] is None
    assert "no patients are given" in capsys.readouterr().out


@pytest.mark.skipif(not CHEXPERT.is_dir(), reason="needs ../shared/data/chexpert_labels")
def test_public_systems_get_their_published_auroc(tmp_path, capsys) -> None:
    values = []
    for path in sorted((CHEXPERT / "predictions").glob("*.csv")):
        found = scores_of(kontrast.score(path, CHEXPERT / "groundtruth.csv", out=tmp_path / path.stem, replicates=20))
        table = pd.read_csv(path).merge(pd.read_csv(CHEXPERT / "groundtruth.csv"), on="Study", suffixes=("_p", ""))
        for name, entry in found["findings"].items():
            assert entry["n"] == 500
            assert entry["auroc"]["value"] == pytest.approx(roc_auc_score(table[name], table[name + "_p"]), abs=1e-12)
        values.append(found["competition"]["auroc"]["value"])
    assert len(values) == 5 and np.mean(values) == pytest.approx(0.926, abs=0.0005)
    assert "patient64" not in capsys.readouterr().out


@pytest.mark.skipif(not CHEXPERT.is_dir(), reason="needs ../shared/data/chexpert_labels")
def test_radiologists_columns_are_matched_by_name(tmp_path) -> None:
    truth, reader = CHEXPERT / "groundtruth.csv", CHEXPERT / "radiologists" / "bc4.csv"
    assert list(pd.read_csv(truth)) != list(pd.read_csv(reader))
    (tmp_path / "half.json").write_text(json.dumps(dict.fromkeys(pd.read_csv(truth).columns[1:], 0.5)))
    found = scores_of(
        kontrast.score(reader, truth, out=tmp_path / "s", thresholds=tmp_path / "half.json", replicates=100)
    )
    lesion, opacity = found["findings"]["Lung Lesion"], found["findings"]["Lung Opacity"]
    assert lesion["positives"] == 8 and opacity["positives"] == 264
    assert "wide: only 8 positive patients" in lesion["note"] and opacity["kappa"]["value"] > 0.6
    assert lesion["specificity"]["value"] > 0.99


def test_another_system_on_the_same_cases(tmp_path, capsys) -> None:
    p, t, table = files(tmp_path)
    table["A"].eq(1).astype(float).rename("A").to_frame().assign(image_id=table["image_id"]).to_csv(
        tmp_path / "q.csv", index=False
    )
    out = kontrast.score(p, t, out=tmp_path / "s", against=tmp_path / "q.csv", replicates=50)
    found = scores_of(out)["against"]
    expected = roc_auc_score(table["A"], table["A_p"]) - 1
    assert list(found["findings"]) == ["A"]
    entry = found["findings"]["A"]["auroc"]
    assert entry["value"] == pytest.approx(expected, abs=1e-12) and entry["high"] < 0
    assert entry["p"] == entry["p_holm"] == pytest.approx(2 / 51) and entry["p_delong"] < 0.001
    assert found["macro"]["auroc"]["value"] == entry["value"]
    said = capsys.readouterr().out
    assert "Less the other system, on the same cases" in said
    shown = said[said.index("Less the other") :].splitlines()
    assert max(map(len, shown)) <= 80
    page = Path(kontrast.report(tmp_path / "s", out=tmp_path / "page.html")).read_text()
    assert "Less the other system, on the same cases" in page
    pd.DataFrame({"image_id": table["image_id"], "B": 0.5}).to_csv(tmp_path / "b.csv", index=False)
    pd.DataFrame({"image_id": table["image_id"], "A": 0.5}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="--against"):
        kontrast.score(tmp_path / "a.csv", t, out=tmp_path / "n", against=tmp_path / "b.csv", replicates=5)


def test_by_study_and_at_a_stated_prevalence(tmp_path, capsys) -> None:
    p, t, table = files(tmp_path)
    table["study"] = table["image_id"].str[1:].astype(int) // 3
    truth = pd.read_csv(t).assign(study_id=table["study"], view="frontal", patient_id=table["study"] // 2)
    truth.to_csv(t, index=False)
    (tmp_path / "th.json").write_text('{"A": 0.4}')
    options = {"replicates": 20, "thresholds": tmp_path / "th.json", "prevalence": "0.05"}
    out = kontrast.score(p, t, out=tmp_path / "s", by="study", over_views="mean", **options)
    groups = table.groupby("study")
    expected = roc_auc_score(groups["A"].max(), groups["A_p"].mean())
    found = scores_of(out)
    assert found["findings"]["A"]["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
    assert found["rows"] == 20 and found["images"] == 60 and out.summary["by"] == "study"
    assert found["findings"]["A"]["stated_prevalence"] == 0.05
    assert "A case is a study (20 of 60 images): its score is the mean" in capsys.readouterr().out
    truth.assign(study_id=truth["study_id"] % 2).to_csv(tmp_path / "anew.csv", index=False)  # 0 and 1 of each patient
    anew = kontrast.score(p, tmp_path / "anew.csv", out=tmp_path / "anew", by="study", over_views="mean", **options)
    assert scores_of(anew) == found and len(scored_cases(read_evaluation(Path(anew))).truth) == 20
    assert "frontal" in scores_of(kontrast.score(p, t, out=tmp_path / "v", by="view", **options))["views"]
    with pytest.raises(UsageError, match="--prevalence"):
        kontrast.score(p, t, out=tmp_path / "n", prevalence="5", replicates=5)
    truth.drop(columns="study_id").to_csv(t, index=False)
    with pytest.raises(DataError, match="study_id"):
        kontrast.score(p, t, out=tmp_path / "n", by="study", replicates=5)
    assert not (tmp_path / "n").exists()


@pytest.mark.skipif(not CHEXPERT.is_dir(), reason="needs ../shared/data/chexpert_labels")
def test_the_majority_of_the_five_ground_truth_readers_is_the_truth() -> None:
    readers = [match(p, CHEXPERT / "groundtruth.csv") for p in sorted((CHEXPERT / "radiologists").glob("*_gt.csv"))]
    truth = readers[0].truth[list(readers[0].findings)].to_numpy()
    assert len(readers) == 5 and truth.shape == (500, 14)
    assert np.array_equal(sum(reader.scores for reader in readers) >= 3, truth == 1)


@pytest.mark.skipif(not CHEXPERT.is_dir(), reason="needs ../shared/data/chexpert_labels")
def test_radiologists_stand_on_the_roc_curves(tmp_path) -> None:
    others = [CHEXPERT / "radiologists" / f"{name}.csv" for name in ("bc4", "bc6", "bc8")]  # not of the ground truth
    system, truth = CHEXPERT / "predictions" / "hieupham_predictions.csv", CHEXPERT / "groundtruth.csv"
    made = kontrast.score(system, truth, out=tmp_path / "s", readers=tuple(others), replicates=10)
    found = scores_of(made)["readers"]
    assert list(found) == ["bc4", "bc6", "bc8"]
    table = pd.read_csv(truth).merge(pd.read_csv(system), on="Study", suffixes=("", "_p"))
    for path in others:
        called = table[["Study"]].merge(pd.read_csv(path), on="Study")
        for finding, at in found[path.stem].items():
            y, calls = table[finding] == 1, called[finding] == 1
            assert at["sensitivity"] == pytest.approx(recall_score(y, calls), abs=1e-12)
            assert at["specificity"] == pytest.approx(recall_score(~y, ~calls), abs=1e-12)
            x, hit, _ = roc_curve(y, table[f"{finding}_p"], drop_intermediate=False)
            assert at["system_sensitivity"] == pytest.approx(np.interp(1 - at["specificity"], x, hit), abs=1e-12)
    page = Path(kontrast.report(made.out, out=tmp_path / "page.html")).read_text()
    assert "Readers of the same cases" in page and "with readers&#39; operating points" in page


@pytest.mark.parametrize("over", ["max", "mean"])
def test_by_study_readers_and_their_curves_are_of_studies_too(tmp_path, monkeypatch, capsys, over) -> None:
    import kontrast.pages.readers as page

    p, t, table = files(tmp_path)
    table["study"] = table["image_id"].str[1:].astype(int) // 2
    table["call"] = np.random.default_rng(1).choice([0, 1], 60, p=(0.7, 0.3))
    pd.read_csv(t).assign(study_id=table["study"]).to_csv(t, index=False)
    table[["image_id", "call"]].rename(columns={"call": "A"}).to_csv(tmp_path / "r.csv", index=False)
    options = {"by": "study", "over_views": over, "replicates": 0}
    capsys.readouterr()
    out = kontrast.score(p, t, out=tmp_path / "s", readers=(tmp_path / "r.csv",), **options)
    said = capsys.readouterr().out.split("Reader r")[1]
    studies = table.groupby("study")
    y, calls, s = studies["A"].max() == 1, studies["call"].max() == 1, studies["A_p"].agg(over)
    at = scores_of(out)["readers"]["r"]["A"]
    assert at["n"] == 30 and at["sensitivity"] == pytest.approx(recall_score(y, calls), abs=1e-12)
    assert at["specificity"] == pytest.approx(recall_score(~y, ~calls), abs=1e-12)
    x, hit, _ = roc_curve(y, s, drop_intermediate=False)
    assert at["system_sensitivity"] == pytest.approx(np.interp(1 - at["specificity"], x, hit), abs=1e-12)
    assert said.split()[:5] == ["finding", "n", "sensitivity", "specificity", "system"]
    line = next(words for words in map(str.split, said.splitlines()) if words[:1] == ["A"])
    assert line == ["A", "30", *(decimal(at[key]) for key in ("sensitivity", "specificity", "system_sensitivity"))]
    drawn = {}
    monkeypatch.setattr(page, "roc_with_readers", lambda curves, points: drawn.update(curves) or "")
    found = SimpleNamespace(path=Path(out))
    assert page.readers_section(found, scores_of(out))["rows"][0]["readers"] == 1
    assert np.array_equal(drawn["A"], (x, hit))


def test_calls_that_are_none_are_refused(tmp_path) -> None:
    p, t, _ = files(tmp_path)
    with pytest.raises(DataError, match="neither 0 nor 1"):
        kontrast.score(p, t, out=tmp_path / "s", readers=(p,), replicates=5)
    assert not (tmp_path / "s").exists()
