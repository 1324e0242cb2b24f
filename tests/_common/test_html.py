"""Text and tables as HTML: nothing that came from users is markup."""

import numpy as np
import pandas as pd
import pytest

from bayesgmm._common.html import folded, listing, paragraph, table
from bayesgmm._common.text import frame_table

BAD = "<script>alert('&')</script>"


@pytest.mark.parametrize(
    "html",
    [
        paragraph(BAD),
        listing([BAD]),
        table([BAD], [[BAD, BAD]]),
        folded(BAD, ""),
        frame_table(pd.DataFrame({BAD: [BAD]}, index=pd.Index([BAD], name=BAD))),
    ],
)
def test_text_is_escaped(html) -> None:
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_list_of_nothing_is_nothing() -> None:
    assert listing([]) == ""


def test_a_frame_keeps_the_names_of_its_index_and_shows_five_digits() -> None:
    index = pd.MultiIndex.from_tuples([("full", 2)], names=["family", "K"])
    html = frame_table(pd.DataFrame({"bic": [2322.19234], "ok": [True], "se": [np.nan]}, index=index))
    assert html.count('<th scope="col">') == 5
    assert '<th scope="row">full</th><th scope="row">2</th><td>2322.2</td><td>yes</td><td>–</td>' in html
