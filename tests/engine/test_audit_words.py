from kontrast.engine.audit_words import say_audit


def test_a_mean_says_of_how_many_findings_it_is(capsys) -> None:
    def mean(*findings: str) -> dict:
        return {"rows": 80, "macro": {"auroc": {"value": 0.7, "low": 0.6, "high": 0.8, "findings": list(findings)}}}

    one = {"auroc": {"value": 0.7}, "positives": 9}
    floor = {"scores": mean("Edema", "Mass") | {"findings": dict.fromkeys(("Edema", "Mass", "Hernia"), one)}}
    few = {"rows": 3, "reason": "fewer than 50 images: not scored"}
    groups = {"sex": {"F": mean("Edema"), "M": mean("Edema", "Mass")}, "age": {"0 to 19": few}}
    found = {
        "packs": {}, "between_packs": [], "metadata": {"p": {"view": floor}},
        "label_policy": {"uncertain": "zeros", "blank": "negative"},
        "classifier": {"p": {"overlap": {}, "subgroups": groups, "rates": {}, "alterations": {}}},
    }  # fmt: skip
    say_audit(found, {"shared": {}})
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["macro", "of", "2", ".700"] in shown
    assert ["sex:", "F", "80", "1", ".700", "[.600,", ".800]"] in shown
    assert ["sex:", "M", "80", "2", ".700", "[.600,", ".800]"] in shown


def test_means_of_altered_images_are_marked_as_other_means_are(capsys) -> None:
    def mean(value: float, incomplete: int) -> dict:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "incomplete": incomplete}

    entry = {"n": 40, "intact": mean(0.7, 21), "altered": mean(0.6, 20), "difference": mean(-0.1, 21)}
    whole = {"n": 40, "intact": mean(0.7, 0), "altered": mean(0.6, 0), "difference": mean(-0.1, 0)}
    found = {
        "packs": {}, "between_packs": [], "metadata": {}, "label_policy": {"uncertain": "zeros", "blank": "negative"},
    }  # fmt: skip
    for altered, mark in ((entry, "*"), (whole, "")):
        altered = {"borders cropped": altered | {"interval": {"replicates": 200}}}
        judged = {"overlap": {}, "subgroups": {}, "rates": {}, "alterations": altered}
        say_audit(found | {"classifier": {"p": judged}}, {"shared": {}})
        out = capsys.readouterr().out
        shown = dict(line.strip().split("   ", 1) for line in out.splitlines() if line.strip().startswith("borders"))
        shown = {key.removeprefix("borders cropped: "): " ".join(cells.split()) for key, cells in shown.items()}
        assert shown == {
            "intact": f"40 .700 [.600, .800]{mark}", "altered": "40 .600 [.500, .700]",
            "difference": f"40 -.100 [-.200, .000]{mark}",
        }  # fmt: skip
        assert ("* Many replicates lack a finding" in out) == bool(mark)
