"""Text for users: numbers by their units, and templates whose values are written by the same rule."""

import numpy as np
import pytest

from bayesgmm._common import decimals_of, quoted, sentence, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.int64(1200), "1,200"), (np.float64(0.5), "0.5"), (np.True_, "yes"), (None, "–"), (1e-12, "1e-12")],
)
def test_cells(value, text) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("sd", "mcse", "decimals"),
    [
        (0.0294, 5e-4, 3),
        (0.0294, 0.02, 2),
        (5.41, 0.09, 1),
        (54.1, 0.9, 0),
        (541.0, 9.0, 0),
        (0.0, np.nan, 3),
        (1e-9, 1e-11, 10),
    ],
)
def test_decimals_show_what_the_draws_support(sd, mcse, decimals) -> None:
    assert decimals_of(sd, mcse=mcse) == decimals


def test_numbers_that_do_not_fit_a_column_are_scientific() -> None:
    assert shown(-1.5e9, 0) == "-1.50e+09"
    assert shown(2.5e-9, 10) == "2.50e-09"
    assert shown(-0.25, 3) == "-0.250"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.00312, "r_hat", "1.003"),
        (np.nan, "r_hat", "–"),
        (1234.4, "count", "1,234"),
        (0.1374, "share", "14%"),
        (np.int64(7), "probability", "7.000"),
        (0.00012345, "p", "0.00012"),
        ("all", "r_hat", "all"),
    ],
)
def test_units_decide_how_numbers_are_rounded(value, unit, text) -> None:
    assert shown(value, unit) == text


def test_braces_in_values_stay_as_they_are() -> None:
    assert sentence("Of {name}: {value}.", name="{x}", value=None) == "Of {x}: –."


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        sentence("Of {name}.")


def test_names_beyond_the_first_few_are_counted() -> None:
    assert quoted("abc", 2) == "'a', 'b' and 1 more"
