"""Oracles: a naive loop over the same draws, and the coverage of simulated studies."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from kontrast.metrics import intervals, scores
from kontrast.metrics.scores import Ranks


def clustered(seed: int, patients: int, rows: int = 3, spread: float = 1.0) -> tuple[np.ndarray, ...]:
    """Rows of one patient share their truth and most of their score, as a chest and its images do."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rows)
    truth = np.repeat(rng.permutation(np.arange(patients) % 2), rows).astype(float)
    score = truth + spread * np.repeat(rng.normal(size=patients), rows) + 0.3 * rng.normal(size=patients * rows)
    return truth, score, patient


def test_units_are_numbered_by_first_appearance() -> None:
    index, total = intervals.index_units(["b", "a", "b", "c"])
    assert index.tolist() == [0, 1, 0, 2] and total == 3


def test_renaming_patients_changes_nothing() -> None:
    y, s, patient = clustered(0, 30)
    renamed = np.array([f"x{(p * 17) % 30:02d}" for p in patient])
    kept, other = (intervals.paired_difference(y, s, -s, p, replicates=50) for p in (patient, renamed))
    assert kept == other


def test_draws_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(intervals.resamples(13, 40, 5)), axis=1)
    monkeypatch.setattr(intervals, "BLOCK_CELLS", 13 * 7)
    cut = list(intervals.resamples(13, 40, 5))
    assert len(cut) == 6 and np.array_equal(np.concatenate(cut, axis=1), whole)
    assert (whole.sum(axis=0) == 13).all()
    assert not np.array_equal(whole, np.concatenate(list(intervals.resamples(13, 40, 6)), axis=1))


def test_draws_are_multinomial() -> None:
    counts = np.concatenate(list(intervals.resamples(20, 4000, 0)), axis=1)
    assert counts.mean(axis=1) == pytest.approx(np.ones(20), abs=0.1)
    assert counts.var(axis=1).mean() == pytest.approx(1 - 1 / 20, rel=0.05)


def test_bootstrap_equals_a_loop_that_repeats_the_rows_of_the_drawn_patients() -> None:
    y, s, patient = clustered(1, 25)
    s = np.round(s, 1)
    units, total = intervals.index_units(patient)
    ranks = Ranks.of(y, s, units, total)
    ours = intervals.bootstrap(lambda w: np.stack(ranks.areas(w)), total, replicates=60, seed=4)
    draws = np.random.default_rng(4)
    for r in range(60):
        drawn = draws.integers(0, total, size=total)
        rows = np.concatenate([np.flatnonzero(patient == p) for p in drawn])
        assert ours[0, r] == pytest.approx(roc_auc_score(y[rows], s[rows]), abs=1e-12)
        assert ours[1, r] == pytest.approx(average_precision_score(y[rows], s[rows]), abs=1e-12)


def test_interval_counts_and_leaves_out_and_withholds() -> None:
    values = np.linspace(0, 1, 101)
    assert intervals.interval(0.5, values) == {"value": 0.5, "low": 0.025, "high": 0.975}
    some = np.where(np.arange(101) % 20 == 0, np.nan, values)
    assert intervals.interval(0.5, some)["left_out"] == 6
    many = np.where(np.arange(101) % 5 == 0, np.nan, values)
    withheld = intervals.interval(0.5, many)
    assert withheld["value"] == 0.5 and withheld["low"] is None and "21 of 101" in withheld["reason"]
    undefined = intervals.interval(np.nan, values, "no positive")
    assert undefined == {"value": None, "low": None, "high": None, "reason": "no positive"}
    assert "says nothing" in intervals.interval(1.0, np.ones(50))["note"]


def test_paired_difference_equals_a_loop_and_its_p_value_means_what_it_says() -> None:
    y, s, patient = clustered(2, 40)
    other = s + np.random.default_rng(0).normal(size=len(s))
    ours = intervals.paired_difference(y, s, other, patient, replicates=80, seed=3)
    draws, found = np.random.default_rng(3), []
    for _ in range(80):
        rows = np.concatenate([np.flatnonzero(patient == p) for p in draws.integers(0, 40, size=40)])
        found.append(roc_auc_score(y[rows], s[rows]) - roc_auc_score(y[rows], other[rows]))
    assert ours["value"] == pytest.approx(roc_auc_score(y, s) - roc_auc_score(y, other), abs=1e-12)
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=1e-12)
    assert ours["p"] == pytest.approx(2 * (min(np.sum(np.array(found) <= 0), np.sum(np.array(found) >= 0)) + 1) / 81)


def test_paired_difference_of_equal_models_and_of_far_ones() -> None:
    y, s, patient = clustered(2, 40)
    same = intervals.paired_difference(y, s, s, patient, replicates=50)
    assert same["value"] == 0 and same["p"] == 1
    far = intervals.paired_difference(y, y, -y, patient, replicates=99, metric="ap")
    assert far["p"] == pytest.approx(2 / 100) and far["low"] > 0
    assert intervals.paired_difference(y, s, -s)["value"] == pytest.approx(2 * scores.auroc(y, s) - 1)


def test_paired_difference_of_groups_is_the_mean_of_their_differences() -> None:
    tables = [clustered(seed, 20) for seed in (7, 8, 9)]
    y, one = (np.stack([t[i] for t in tables], axis=1) for i in (0, 1))
    two = one + np.random.default_rng(0).normal(size=one.shape)
    ours = intervals.paired_difference(y, one, two, tables[0][2], groups=[0, 0, 1], replicates=40, seed=2)

    def naive(rows: np.ndarray) -> float:
        gaps = [roc_auc_score(y[rows, f], one[rows, f]) - roc_auc_score(y[rows, f], two[rows, f]) for f in range(3)]
        return ((gaps[0] + gaps[1]) / 2 + gaps[2]) / 2

    assert ours["value"] == pytest.approx(naive(np.arange(len(y))), abs=1e-12)
    draws = np.random.default_rng(2)
    drawn = [np.concatenate([np.arange(3 * p, 3 * p + 3) for p in draws.integers(0, 20, size=20)]) for _ in range(40)]
    assert [ours["low"], ours["high"]] == pytest.approx(list(np.quantile([naive(r) for r in drawn], [0.025, 0.975])))


def test_paired_difference_of_macro_leaves_undefined_findings_and_ignored_rows_out() -> None:
    y, s, patient = clustered(5, 30)
    table = np.stack([y, np.zeros_like(y), np.where(np.arange(len(y)) % 4 == 0, np.nan, y)], axis=1)
    one, two = np.stack([s] * 3, axis=1), np.stack([-s] * 3, axis=1)
    known = ~np.isnan(table[:, 2])
    expected = np.mean([2 * roc_auc_score(y, s) - 1, 2 * roc_auc_score(y[known], s[known]) - 1])
    assert intervals.paired_difference(table, one, two, patient, replicates=20)["value"] == pytest.approx(expected)
    nothing = intervals.paired_difference(np.zeros(5), np.arange(5), np.arange(5))
    assert nothing["value"] is None and nothing["p"] is None and "class is missing" in nothing["reason"]


def test_paired_difference_counts_the_replicates_that_lack_a_finding() -> None:
    y, _, patient = clustered(5, 30)
    rare = np.zeros_like(y)
    rare[0] = 1  # of one patient: absent from (29 / 30)^30 = .36 of the replicates
    table = np.stack([y, rare], axis=1)
    one, two = (np.random.default_rng(i).random(table.shape) for i in (0, 1))
    found = intervals.paired_difference(table, one, two, patient, replicates=200, seed=3)
    draws = np.random.default_rng(3)
    lacking = sum(patient[0] not in draws.integers(0, 30, size=30) for _ in range(200))
    assert found["incomplete"] == lacking and 50 < lacking < 100
    assert "incomplete" not in intervals.paired_difference(y, one[:, 0], two[:, 0], patient, replicates=50)


def test_patients_give_wider_intervals_than_rows_when_their_rows_agree() -> None:
    y, s, patient = clustered(7, 60, rows=6)
    by_patient, by_row = (intervals.paired_difference(y, s, -s, p, replicates=300) for p in (patient, None))
    assert by_patient["high"] - by_patient["low"] > 1.6 * (by_row["high"] - by_row["low"])


@pytest.mark.slow
def test_coverage_of_clustered_data() -> None:
    big = clustered(10**6, 20_000, 3)
    truth = roc_auc_score(big[0], big[1])
    inside = 0
    for seed in range(1000):
        y, s, patient = clustered(seed, 100)
        units, total = intervals.index_units(patient)
        ranks = Ranks.of(y, s, units, total)
        drawn = intervals.bootstrap(lambda w, r=ranks: r.areas(w)[0][None], total, replicates=500, seed=seed)[0]
        low, high = np.quantile(drawn, [0.025, 0.975])
        inside += low <= truth <= high
    assert 0.92 <= inside / 1000 <= 0.97


def test_bca_equals_scipy() -> None:
    from types import SimpleNamespace

    from scipy import stats

    sample = np.random.default_rng(0).lognormal(size=40)
    draws = np.random.default_rng(1).integers(0, 40, size=(900, 40))

    def mean(w: np.ndarray) -> np.ndarray:
        return (sample @ w / w.sum(axis=0))[None]

    drawn = np.array([sample[row].mean() for row in draws])
    ours = intervals.interval(sample.mean(), drawn, left_out=intervals.jackknife(mean, 40)[0])
    theirs = stats.bootstrap(
        (sample,), np.mean, n_resamples=0, method="BCa",
        bootstrap_result=SimpleNamespace(bootstrap_distribution=drawn),
    ).confidence_interval  # fmt: skip
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    plain = intervals.interval(sample.mean(), drawn)
    assert ours["low"] > plain["low"] and ours["high"] > plain["high"]  # a skewed sample


def test_jackknife_leaves_out_each_patient_or_groups_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    y, s, patient = clustered(3, 20)
    ranks = Ranks.of(y, s, patient, 20)
    monkeypatch.setattr(intervals, "BLOCK_CELLS", 20 * 7)
    found = intervals.jackknife(lambda w: ranks.areas(w)[0][None], 20)[0]
    naive = [roc_auc_score(y[patient != p], s[patient != p]) for p in range(20)]
    assert found == pytest.approx(naive, abs=1e-12)
    monkeypatch.setattr(intervals, "JACKKNIFE_GROUPS", 5)
    found = intervals.jackknife(lambda w: ranks.areas(w)[0][None], 20)[0]
    naive = [roc_auc_score(y[patient % 5 != g], s[patient % 5 != g]) for g in range(5)]
    assert found == pytest.approx(naive, abs=1e-12)


def test_bca_of_a_perfect_score_is_undefined_and_said() -> None:
    found = intervals.interval(1.0, np.full(50, 1.0), left_out=np.full(9, 1.0))
    assert found["low"] == found["high"] == 1.0
    found = intervals.interval(2.0, np.linspace(0, 1, 50), left_out=np.linspace(0, 1, 9))
    assert "no BCa interval" in found["note"] and found["high"] == pytest.approx(0.975)
