import numpy as np
import pytest
from source_cases import MIXTURE, MadeBlock, MadeSource, cut_small, rows

from bayesgmm.data import Block, Data, ReusedBuffer, Source, SourceData, in_order, over_blocks, threads_for, total
from bayesgmm.data.sources import Summary
from bayesgmm.em import moments_of
from bayesgmm.exceptions import InputError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    cut_small(monkeypatch)


def read(X, seed=0, **options):
    return SourceData.read_once(MadeSource(X), rng=np.random.default_rng(seed), **options)


def test_a_made_source_satisfies_the_protocol():
    assert isinstance(MadeSource(rows()), Source)
    assert not isinstance(rows(), Source)


def test_all_rows_come_in_order_in_blocks_for_the_kernel():
    X = rows()
    sizes, parts = zip(*((block.n_rows, block.columns.copy()) for block in read(X)), strict=True)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1).T, X)
    assert max(sizes) <= 40


def test_summaries_add():
    x = rows().T * 1e3 + 1e6
    whole = Summary.of(x, products=True)
    parts = Summary.of(x[:, :7], products=True) + Summary.of(x[:, 7:100], products=True)
    both = parts + Summary.of(x[:, 100:], products=True)
    np.testing.assert_allclose(both.scatter, whole.scatter, rtol=1e-11, atol=1e-9 * np.abs(whole.scatter).max())
    np.testing.assert_allclose(both.mean, whole.mean, rtol=1e-14)
    assert (both.n_rows, *both.highest) == (1_003, *x.max(axis=1))
    without = Summary.of(x[:, :7], products=False) + Summary.of(x[:, 7:], products=False)
    np.testing.assert_allclose(without.scatter[0], np.diagonal(whole.scatter), rtol=1e-11)


@pytest.mark.parametrize("family", ["full", "diag"])
def test_the_first_pass_finds_the_moments_of_all_rows(family):
    from bayesgmm.mixture import covariance_family

    X = rows()
    X[:, 2] = 0.1  # constant
    family = covariance_family(family)
    found = moments_of(read(X, products=family.parametrisation.correlated), family)
    wanted = moments_of(Data.of(X), family)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-11, atol=1e-14)
    assert found.variances[2] == 0.0


@pytest.mark.draws
def test_the_sample_is_uniform_and_stands_for_all():
    X = np.arange(3_000.0)[:, None] * np.ones(3)
    data = read(X)
    drawn = data.sample.rows[:, 0]
    assert len(np.unique(drawn)) == 300
    assert data.sample.total == pytest.approx(3_000.0)
    assert abs(drawn.mean() - 1_499.5) < 5.0 * 866.0 / np.sqrt(300)
    assert np.abs(np.histogram(drawn, 10, (0, 3_000))[0] - 30).max() < 5.5 * np.sqrt(27)


def test_the_sample_and_sums_do_not_depend_on_threads():
    X = rows()
    one, two = (read(X, n_jobs=n_jobs) for n_jobs in (1, 3))
    np.testing.assert_array_equal(one.sample.rows, two.sample.rows)
    np.testing.assert_array_equal(one.summary.scatter, two.summary.scatter)
    with threads_for(two, 3) as pool:
        assert total(lambda block: block.columns.sum(), two, pool) == total(lambda block: block.columns.sum(), two)


def test_few_rows_are_read_into_memory():
    X = rows(300)
    data = read(X)
    assert type(data) is Data
    np.testing.assert_array_equal(data.rows, X)


def test_there_is_no_array_of_all_rows():
    data = read(rows())
    for use in (lambda: data.rows, lambda: data.blocks, lambda: data.weights, lambda: data.take(np.arange(3))):
        with pytest.raises(InputError, match=r"a source of 1,003 rows.*open_source\(X\)\.sample"):
            use()
    assert data.shape == (1_003, 3)
    assert data.subset(50, rng=np.random.default_rng(0)).total == pytest.approx(1_003.0)


class Other(MadeSource):
    def __init__(self, *blocks):
        self.blocks = blocks


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]]), r"nan in 'x1' in row 501 of made \(counted from 0\)"),
        (np.array([[1.0, 2.0, 3.0], [4.0, 5.0, -np.inf]]), r"-inf in 'x2' in row 501 of made"),
        (np.array([[1e101, 2.0, 3.0], [4.0, 5.0, 6.0]]), r"1e\+101 in 'x0' in row 500 of made"),
        (np.ones((2, 2)), r"rows of shape \(obs, 3\) from made; got an array of shape \(1, 2\)"),
        (np.ones((2, 3)) > 0, "made to be numeric; got true and false"),
        (np.full((2, 3), "1.0"), "made to be numeric; got text"),
    ],
)
def test_rows_are_checked_while_they_are_read(part, message):
    source = Other(MadeBlock(rows(500), 0), MadeBlock(part, 500))
    for use in (
        lambda: SourceData.read_once(source, rng=np.random.default_rng(0)),
        lambda: SourceData(source).picked(np.arange(502)),
    ):
        with pytest.raises(InputError, match=message):
            use()


class Short(MadeBlock):
    def read(self):
        yield self.part[:-1]


def test_a_block_of_other_length_than_it_says_is_an_error():
    source = Other(Short(rows(400), 0))
    with pytest.raises(InputError, match="read 400 rows of made; got 399"):
        SourceData.read_once(source, rng=np.random.default_rng(0))


# ---- sums over blocks


def test_results_come_in_order_with_few_ahead():
    begun = []
    with threads_for(Data(np.zeros((40_000, 1))), 3) as pool:
        results = in_order(lambda i: begun.append(i) or i, range(1_000), pool)
        assert next(results) == 0
        assert len(begun) < 500
        assert list(results) == list(range(1, 1_000))


def test_an_abandoned_pass_ends_soon():
    begun = []
    with threads_for(Data(np.zeros((40_000, 1))), 2) as pool:
        results = in_order(lambda i: begun.append(i) or i, range(100_000), pool)
        next(results)
        results.close()
    assert len(begun) < 1_000


def test_one_job_is_one_thread():
    data = Data.of(np.zeros((25_001, 1)))
    with threads_for(data, 1) as pool:
        assert pool is None
    with threads_for(data, 2) as pool:
        assert pool._max_workers == 2
    with threads_for(Data.of(np.zeros((25_000, 1))), 2) as pool:
        assert pool is None


def test_plain_blocks_may_be_given_instead_of_data():
    x = rows().T
    blocks = [(x[:, :400].copy(), np.empty(0)), (x[:, 400:].copy(), np.empty(0))]
    sums = list(over_blocks(lambda block: block.columns.sum(axis=1), blocks))
    np.testing.assert_allclose(sum(sums), x.sum(axis=1), atol=1e-9)


def test_a_block_in_memory_is_its_own_handle():
    block = Block(np.ones((2, 5)), np.arange(5.0))
    assert list(block.read()) == [block]
    assert [piece.total for piece in block.pieces(3)] == [3.0, 7.0]


def test_a_buffer_is_used_again_in_its_thread_only():
    from threading import Thread

    buffer, others = ReusedBuffer(), []
    first = buffer.array((3, 4))
    assert np.shares_memory(first, buffer.array((2, 2), np.float32))
    thread = Thread(target=lambda: others.append(buffer.array((3, 4))))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


def test_kernel_sums_of_a_source_are_those_of_memory():
    from bayesgmm.em import EMSettings, run_em

    X, settings = rows(), EMSettings(max_iter=0, reg_covar=0.0)
    memory, source = (run_em(data, MIXTURE, settings=settings) for data in (Data.of(X), read(X)))
    assert source.log_likelihood == pytest.approx(memory.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(source.counts, memory.counts, rtol=1e-12)
