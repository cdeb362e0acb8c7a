"""Every transcript is seen once per epoch, in steps that depend on seed and epoch alone, within the budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.train_model.sampler import Sizes, check_budget, epoch_batches, plan_step, rank_slices
from components.train_sections import BudgetParams
from model.errors import InputError

WINDOW_KEYS = st.lists(st.integers(0, 30), min_size=1, max_size=120).map(lambda keys: np.array(keys, dtype=np.int64))
BUDGETS = st.builds(
    BudgetParams,
    transcripts=st.none() | st.integers(1, 9),
    dna_windows=st.none() | st.integers(1, 6),
    rna_tokens=st.none() | st.integers(100, 300),
    protein_tokens=st.none() | st.integers(50, 200),
)


def sizes_of(keys: np.ndarray) -> Sizes:
    rng = np.random.default_rng(len(keys))
    rna, protein = rng.integers(1, 101, len(keys)), rng.integers(0, 51, len(keys))
    return Sizes(window_key=keys, rna=rna, protein=protein, window_cost=80.0, row_cost=(rna + protein).astype(float))


@pytest.mark.parametrize("order", ["windows", "transcripts"])
@given(keys=WINDOW_KEYS, size=st.integers(1, 16), epoch=st.integers(0, 3))
def test_an_epoch_holds_every_transcript_once_in_full_steps(
    order: str, keys: np.ndarray, size: int, epoch: int
) -> None:
    batches = epoch_batches(keys, size, seed=1, epoch=epoch, order=order)
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
def test_the_ranks_share_the_work_and_no_window_is_encoded_twice(keys: np.ndarray, ranks: int) -> None:
    sizes = sizes_of(keys)
    parts = rank_slices(np.arange(len(keys)), sizes, ranks)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(keys)))
    windows = [set(keys[part].tolist()) for part in parts]
    assert sum(map(len, windows)) == len(np.unique(keys))
    loads = [len(own) * 80.0 + sizes.row_cost[part].sum() for own, part in zip(windows, parts, strict=True)]
    heaviest = max(80.0 + sizes.row_cost[keys == key].sum() for key in set(keys.tolist()))
    assert max(loads) - min(loads) <= heaviest


@given(keys=WINDOW_KEYS, budget=BUDGETS, ranks=st.integers(1, 4))
def test_micro_batches_keep_to_the_budget_and_hold_each_transcript_once(
    keys: np.ndarray, budget: BudgetParams, ranks: int
) -> None:
    sizes = sizes_of(keys)
    plans = plan_step(np.arange(len(keys)), sizes, budget, ranks)
    assert len({len(plan) for plan in plans}) == 1, "every rank has as many forward passes as the others"
    parts = [part for plan in plans for part in plan]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(keys)))
    for part in parts:
        used = (len(part), len(np.unique(keys[part])), sizes.rna[part].sum(), sizes.protein[part].sum())
        limits = (budget.transcripts, budget.dna_windows, budget.rna_tokens, budget.protein_tokens)
        assert all(limit is None or count <= limit for count, limit in zip(used, limits, strict=True))


def test_windows_are_divided_only_where_the_budget_says_so() -> None:
    keys = np.repeat(np.arange(20), 3)
    plan = plan_step(np.arange(60), sizes_of(keys), BudgetParams(dna_windows=4))[0]
    assert len(plan) == 5
    assert sum(len(np.unique(keys[part])) for part in plan) == 20
    # Two transcripts at a time: a window of three needs two passes.
    split = plan_step(np.arange(60), sizes_of(keys), BudgetParams(transcripts=2))[0]
    assert sum(len(np.unique(keys[part])) for part in split) == 40


def test_without_a_budget_a_step_is_one_pass_in_order_of_length() -> None:
    sizes = sizes_of(np.arange(50))
    ((part,),) = plan_step(np.arange(50), sizes, BudgetParams())
    assert (np.diff(sizes.tokens[part]) >= 0).all()


def test_a_transcript_that_exceeds_the_budget_alone_is_named() -> None:
    sizes = sizes_of(np.arange(5))
    ids = [f"T{row}" for row in range(5)]
    longest = int(sizes.rna.argmax())
    with pytest.raises(InputError, match=rf"{sizes.rna.max()} tokens of T{longest}.*found 10"):
        check_budget(sizes, BudgetParams(rna_tokens=10), ids)
