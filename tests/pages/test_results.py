from kontrast.pages.results import _spread


def test_the_spread_over_seeds_is_that_of_a_sample() -> None:
    assert _spread([0.6, 0.7, 0.8]) == {"text": ".700", "sd": "± .100"}
    assert _spread([0.6]) == {"text": ".600", "sd": ""}
