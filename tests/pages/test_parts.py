"""Curves, subgroups, heat maps and limits on the page say what the files say."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from helpers import make_pack
from kontrast.artifacts.card import card_hash, parent, read_card, write_card
from kontrast.artifacts.evaluation import read_evaluation, scored_cases, scored_targets
from kontrast.artifacts.wording import decimal
from kontrast.engine.scoring import score_rows
from kontrast.metrics.fairness import call_rates
from kontrast.pages import curves, report
from kontrast.pages.audit import _rates, met_in_training
from kontrast.pages.limits import limits
from kontrast.pages.results import evaluation_section
from kontrast.pages.saliency import explanation_section
from kontrast.pages.subgroups import _compared, evaluation_forest, subgroup_forests
from pages.conftest import add_evaluation, found


def test_maps_name_the_classifier_and_keep_the_scores(pack, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "e").mkdir()
    write_card(tmp_path / "c", "classifier", config={})
    hit = {"value": 0.5, "low": 0.4, "high": 0.6}
    about = dict.fromkeys(("method", "encoder", "split", "threshold", "order", "overlap"), "x") | {"map": [4, 4]}
    content = about | {"findings": {"Disc": {"n": 3, "hit": hit, "centre_hit": hit, "iou": hit, "centre_iou": hit}}}
    write_card(
        tmp_path / "e", "explanation", config={}, parents=[parent("classifier", tmp_path / "c")], content=content
    )
    sha = card_hash(tmp_path / "c")
    section = explanation_section(found(tmp_path / "e"), {sha: "mine", "other": "not mine"})
    assert section["classifier"] == "mine"
    assert section["findings"][0]["iou"] == {"text": ".500", "range": "[.400, .600]"}
    assert explanation_section(found(tmp_path / "e"), {})["classifier"] is None


def test_a_picture_has_its_own_scores_below_it(tmp_path):
    import cv2

    (tmp_path / "e" / "overlays").mkdir(parents=True)
    names = [f"overlays/disc-{i}.png" for i in "ab"]
    for name in names:
        cv2.imwrite(str(tmp_path / "e" / name), np.zeros((8, 16), np.uint8))
    rows = [("Disc", "b", 0.9, 1.0, 0.25), ("Disc", "a", 0.125, 0.0001, 0.0), ("Disc", "c", 0.5, None, None)]
    rows += [("Bar", "a", 0.75, 1.0, 0.5), ("Bar", "b", 0.25, 1.0, 0.5)]  # the same images, of another finding
    table = pd.DataFrame(rows, columns=["finding", "image_id", "prob", "hit", "iou"])
    table.to_csv(tmp_path / "e" / "localisation.csv", index=False)
    score = {"value": 0.5, "low": None, "high": None}
    rank = {"rank": score, "ssim": score}
    one = {
        "n": 2, "pictures": names, "hit": score, "iou": score, "centre_hit": score, "centre_iou": score,
        "true_positives": {"n": 1, "hit": score, "iou": score},
        "threshold": {"value": 0.35, "chosen": "on val"},
        "sanity": {"between_images": rank, "weights": [{"layer": "head", **rank}, {"layer": "conv1", **rank}]},
        "repeat": {"classifiers": 3, "hits": [0.1, 0.2, 0.3], **rank},
    }  # fmt: skip
    about = dict.fromkeys(("method", "encoder", "split", "order", "overlap"), "x") | {"map": [4, 4]}
    files = ["localisation.csv", *names]
    write_card(tmp_path / "e", "explanation", config={}, content=about | {"findings": {"Disc": one}}, files=files)
    section = explanation_section(found(tmp_path / "e"), {})
    row = section["findings"][0]
    assert [picture["words"] for picture in row["pictures"]] == ["p .125, miss, IoU .000", "p .900, hit, IoU .250"]
    assert section["rules"] == ["IoU at a share of the map's maximum, on val: Disc 0.35."]
    assert section["checks"]["heads"] == ["random weights", "two images", "other seeds"]
    assert [cell["mark"] for cell in section["checks"]["rows"][0]["cells"]] == ["!", "", ""]
    assert section["judged"][0] == "Random weights: those of Disc may say little of the weights (!)."
    assert section["judged"][1] == "Other seeds: maps of Disc agree over the seeds."
    assert "conv1" in section["cascade"]
    page = report.render(report.find_artifacts([tmp_path / "e"]), "t")
    assert "p .900, hit, IoU .250" in page and "of these called positive" in page and "Layers made random" in page


def test_curves_are_there_with_bands_and_prevalence(pack, tmp_path):
    one = found(add_evaluation(tmp_path / "e", pack))
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    section = curves.curve_section(one, scores)
    for kind, key in (("roc", "auroc"), ("pr", "ap")):
        for name, entry in scores["findings"].items():
            assert name in section[kind] and decimal(entry[key]["value"]) in section[kind]
    assert section["roc"].count("<svg") == section["pr"].count("<svg") == 2 and not section["why"]
    rewrite(one, scores | {"label_policy": {"uncertain": "whatever", "blank": "negative"}})
    assert "not known" in curves.curve_section(one, scores)["why"] and evaluation_forest(one) is None


def rewrite(one, scores):
    (one.path / "scores.json").write_text(json.dumps(scores))
    content, files = one.card.content, ["predictions.csv", "truth.csv", "scores.json"]
    write_card(one.path, "evaluation", config={}, content=content, files=files)


def test_curves_of_studies_are_those_of_their_scores(pack, tmp_path, monkeypatch):
    one = found(add_evaluation(tmp_path / "e", pack))
    evaluation = read_evaluation(one.path)
    values = evaluation.predictions[["Disc", "Bar"]].to_numpy()
    truth = scored_targets(evaluation, ("Disc", "Bar"))
    options = {"replicates": 20, "label_policy": {"uncertain": "zeros", "blank": "negative"}}
    table = evaluation.truth.assign(study_id=evaluation.truth["patient_id"])  # both images of a patient are one
    table.to_csv(one.path / "truth.csv", index=False)
    by_study = {"patients_known": True, "by": "study", "over_views": "mean"}
    rewrite(one, scores := score_rows(table, truth, values, ("Disc", "Bar"), **by_study, **options))
    drawn = {}
    monkeypatch.setattr(curves, "panels", lambda found_curves, areas, kind: drawn.update({kind: found_curves}))
    curves.curve_section(one, scores)
    for name, entry in scores["findings"].items():
        curve = drawn["roc"][name]
        assert entry["n"] == len(table) / 2
        # the curve is drawn on a grid, so its area is known to a hundredth
        assert np.trapezoid(curve["roc"]["value"], curves.GRID) == pytest.approx(entry["auroc"]["value"], abs=0.02)
        assert curve["prevalence"] == entry["prevalence"]


def test_an_evaluation_is_drawn_by_group_where_no_audit_does(tmp_path, monkeypatch):
    pack = make_pack(tmp_path / "p", n=400, size=16, splits=(0.2, 0.2))
    behind = [parent("pack", pack)]
    one = found(add_evaluation(tmp_path / "e", pack, parents=behind))
    seen = {}
    monkeypatch.setattr("kontrast.pages.subgroups.forest", lambda scored, panels: seen.update(scored))
    evaluation_forest(one)
    cases = scored_cases(read_evaluation(one.path))
    assert set(seen) == {"sex, over 2 findings", "age, over 2 findings", "view, over 2 findings"}
    assert "unknown" not in seen["sex, over 2 findings"]  # a third has no sex
    women = (cases.table["sex"] == "F").to_numpy()
    group = seen["sex, over 2 findings"]["F"]
    naive = [roc_auc_score(cases.truth[women, f], cases.scores[women, f]) for f in (0, 1)]
    assert group["rows"] == women.sum() and group["macro"]["auroc"]["value"] == pytest.approx(np.mean(naive))
    # a finding that one group has no positive of is in no group's mean
    cases.truth[women, 0] = 0
    large = {"F": women, "M": (cases.table["sex"] == "M").to_numpy()}
    names, scored = _compared(cases, ("Disc", "Bar"), large, {"replicates": 5})
    assert names == ["Bar"] and scored["F"]["macro"]["auroc"]["value"] == pytest.approx(naive[1])
    monkeypatch.undo()
    page = report.render(report.find_artifacts([tmp_path / "e"]), "t")
    assert "groups of patients</summary>" in page and "over the findings that have both classes" in page
    behind = frozenset(p.sha256 for p in behind)
    shown = evaluation_section([one], [], {}, {"e": ("#000", "o")}, audited=[behind])
    assert shown["tables"][0]["groups"] is None


def test_where_no_finding_has_both_classes_the_page_says_so(tmp_path):
    pack = make_pack(tmp_path / "p", n=12, size=16, unclear=0, splits=(0.6, 0.3))
    one = found(add_evaluation(tmp_path / "e", pack))
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert curves.curve_section(one, scores)["why"].startswith("No finding has both classes")


def audit(folder, subgroups, rates=None):
    folder.mkdir()
    content = {
        "label_policy": {"uncertain": "zeros"}, "packs": {}, "between_packs": [], "metadata": {},
        "classifier": {"chest": {"overlap": {}, "subgroups": subgroups, "rates": rates}},
    }  # fmt: skip
    (folder / "audit.json").write_text(json.dumps(content))
    write_card(folder, "audit", config={}, content={"summary": {}}, files=["audit.json"])
    return found(folder)


def test_subgroups_are_drawn_with_what_the_audit_has_of_them(tmp_path):
    score = {"value": 0.7, "low": 0.6, "high": 0.8}
    none = {"value": None, "low": None, "high": None}
    group = {"rows": 1234, "macro": {"auroc": score, "sensitivity": none}}
    few = {"rows": 3, "reason": "fewer than 50 images: not scored"}
    (drawn,) = subgroup_forests(audit(tmp_path / "a", {"sex": {"F": group, "M": few}, "age": {"0 to 19": few}}))
    assert "F  (1,234)" in drawn["forest"] and "macro AUROC" in drawn["forest"]
    assert (
        "M  (3)" not in drawn["forest"]
        and "macro sensitivity" not in drawn["forest"]
        and ">age<" not in drawn["forest"]
    )
    assert "diagnosis" not in drawn["forest"]
    under = {"groups": {"F": score | {"n": 400}}, "gap": none | {"reason": "one group"}}
    rates = {"sex": {"underdiagnosis": under, "tpr": {}, "fpr": {}}, "age": {"reason": "too few"}}
    (drawn,) = subgroup_forests(audit(tmp_path / "b", {"sex": {"F": group}}, rates))
    assert "under-diagnosis rate" in drawn["forest"]
    assert subgroup_forests(audit(tmp_path / "c", {"reason": "the Pack has no test images"})) == []
    page = report.render(report.find_artifacts([tmp_path / "b"]), "t")
    assert "of twenty intervals one misses" in page and "flatter" not in page


def test_groups_of_other_findings_and_met_patients_are_told_on_the_audits_figures(tmp_path):
    score = {"value": 0.7, "low": 0.6, "high": 0.8}
    sexes = {
        sex: {"rows": 60, "macro": {"auroc": score | {"findings": held}}} for sex, held in (("F", "AB"), ("M", "A"))
    }
    ages = {"0 to 19": sexes["M"], "20 to 39": sexes["M"]}
    one = audit(tmp_path / "a", {"sex": sexes, "age": ages})
    (drawn,) = subgroup_forests(one)
    assert "F  (60; 2 findings)" in drawn["forest"] and "M  (60; 1 finding)" in drawn["forest"]
    assert "0 to 19  (60)" in drawn["forest"] and not drawn["met"]  # alike, so nothing to say
    content = json.loads((one.path / "audit.json").read_text())
    met = {"patients": "unknown", "images": 3, "near_copies": 0, "text": "3 images shared by checksum"}
    content["classifier"]["chest"] |= {"overlap": {"test": met}, "alterations": {}, "rates": {}}
    (one.path / "audit.json").write_text(json.dumps(content))
    write_card(one.path, "audit", config={}, content={"summary": {}}, files=["audit.json"])
    page = report.render(report.find_artifacts([one.path]), "t")
    assert page.count("no test of this Classifier (3 images shared by checksum)") == 2  # at the tables, at the figure
    content["classifier"]["chest"]["overlap"]["test"] |= {"images": 0, "text": "unknown"}
    assert met_in_training(content["classifier"]["chest"]) == ""


def test_groups_too_small_for_a_gap_are_named_beside_it():
    rng = np.random.default_rng(0)
    groups = {name: np.arange(400) % 4 == i for i, name in enumerate("abcd")}
    y = (rng.random((400, 1)) < 0.5).astype(float)
    y[groups["c"], 0] = np.arange(100) < 3
    p = np.where(groups["d"], 0.9, rng.random(400))[:, None]
    (table,) = _rates("", {"sex": call_rates(y, p, ["A"], {"A": 0.3}, groups, replicates=20)})
    tpr, fpr = table["gaps"]
    assert tpr["small"] == "c" and fpr["small"] == "" and not tpr["clear"] and "every case of d" in tpr["reason"]
    assert table["groups"][2]["apart"] == "counts fewer than 30 cases: not in the gap" and table["none"] == []
    few = {name: rows & (np.arange(400) < 80) for name, rows in groups.items()}
    (table,) = _rates("", {"sex": call_rates(y, p, ["A"], {"A": 0.3}, few, replicates=20)})
    assert table["gaps"] == [] and table["none"] == ["A (TPR)", "A (FPR)"]


def kinds(*ones):
    return {kind: [one for one in ones if one.card.kind == kind] for kind in report.KINDS}


def test_limits_follow_from_what_is_there(pack, tmp_path):
    (tmp_path / "c").mkdir()
    write_card(tmp_path / "c", "classifier", config={}, parents=[parent("pack", pack)])
    behind = [parent("classifier", tmp_path / "c"), parent("pack", pack)]
    own = found(add_evaluation(tmp_path / "own", pack, parents=behind))
    said = " ".join(limits(kinds(own, found(tmp_path / "c"))))
    assert "Testing is internal" in said and "No audit is on this page" in said and "No heat maps were made" in said
    assert "Fewer than 30 positive or negative images were tested for Disc, Bar" in said
    scores = json.loads((own.path / "scores.json").read_text())
    scores["findings"]["Bar"] |= {"n": 100, "positives": 50, "note": "few: only 12 positive patients, so …"}
    (own.path / "scores.json").write_text(json.dumps(scores))
    files = ["predictions.csv", "truth.csv", "scores.json"]
    write_card(own.path, "evaluation", config={}, parents=behind, content=own.card.content, files=files)
    said = " ".join(limits(kinds(found(own.path), found(tmp_path / "c"))))
    assert "negative images were tested for Disc." in said and "negative patients were tested for Bar." in said
    other = make_pack(tmp_path / "other", n=24, size=16, seed=9)
    far = found(add_evaluation(tmp_path / "far", other, parents=[parent("pack", other)]))
    said = " ".join(limits(kinds(far, found(tmp_path / "c"))))
    assert "far: another Pack than that of training" in said and "Testing is internal" not in said
    assert not any("generated" in text or "program. Nothing" in text for text in limits(kinds(own)))
    card = read_card(other)
    write_card(other, "pack", config=card.config, content=card.content | {"generated": True}, files=list(card.files))
    assert "drawn by a program" in limits(kinds(found(other)))[0]
