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
