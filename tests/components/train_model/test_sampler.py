"""Every transcript is seen once per epoch, in steps that depend on seed and epoch alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.train_model.sampler import epoch_batches, rank_slice

WINDOW_KEYS = st.lists(st.integers(0, 30), min_size=1, max_size=120).map(lambda keys: np.array(keys, dtype=np.int64))


@given(WINDOW_KEYS, st.integers(1, 16), st.integers(0, 3))
def test_an_epoch_holds_every_transcript_once_in_full_steps(keys: np.ndarray, size: int, epoch: int) -> None:
    batches = epoch_batches(keys, size, seed=1, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(keys)))
    assert all(len(batch) == size for batch in batches[:-1])


@given(WINDOW_KEYS, st.integers(1, 16))
def test_transcripts_of_one_window_stand_together(keys: np.ndarray, size: int) -> None:
    order = keys[np.concatenate(epoch_batches(keys, size, seed=1, epoch=0))]
    assert np.count_nonzero(np.diff(order)) == len(np.unique(keys)) - 1


def test_the_order_follows_seed_and_epoch_alone() -> None:
    keys = np.arange(1000) // 2
    first, again, other_epoch, other_seed = (
        np.concatenate(epoch_batches(keys, 64, seed=seed, epoch=epoch))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other_epoch)
    assert not np.array_equal(first, other_seed)


@given(WINDOW_KEYS, st.integers(1, 4))
def test_the_ranks_together_compute_the_global_batch(keys: np.ndarray, ranks: int) -> None:
    rows = epoch_batches(keys, 64, seed=0, epoch=0)[0]
    counts = keys * 3 % 7
    parts = [rank_slice(rows, counts, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(rows.tolist())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
