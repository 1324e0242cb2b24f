"""Partitions print sizes, not labels."""

import numpy as np

from bayesgmm import credible_ball, estimate_partition, representative_partitions


def test_records_of_partitions_are_a_line_without_labels() -> None:
    rng = np.random.default_rng(0)
    drawn = np.repeat([[0] * 30 + [1] * 12], 50, axis=0)
    drawn[rng.random(drawn.shape) < 0.02] = 1
    found = estimate_partition(drawn, random_state=0, progress=False)
    printed = [
        repr(each) for each in (found, credible_ball(found, drawn), representative_partitions(drawn, progress=False))
    ]
    assert "Partition of 42 rows into 2 clusters, of 30 and 12 rows" in printed[0]
    assert all("array" not in text and "\n" not in text and len(text) < 300 for text in printed)
    assert printed[1].startswith("Ball of 9")
