"""What a preflight computes is as large as anything that the training will."""

import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from components.params import Params
from components.train_model.preflight import largest_micro_batches, preflight
from components.train_model.sampler import Sizes, epoch_batches, plan_step
from components.train_sections import BudgetParams, TrainParams
from tests.components.train_model.trainers import make_trainer
from tests.components.train_model.workers import QUIET, changed

# As in the recipes, where the published network reads some 500 RNA and 400 protein tokens per transcript.
SINGLE_GPU = BudgetParams(dna_windows=4, rna_tokens=4096, protein_tokens=4096)
MANY_WINDOWS = BudgetParams(dna_windows=16, rna_tokens=4096, protein_tokens=4096)
TRANSCRIPTS = BudgetParams(transcripts=5)


def drawn_sizes(count: int) -> Sizes:
    """Lengths spread as those of real transcripts, long RNAs with long proteins, some windows shared."""
    rng = np.random.default_rng(0)
    rna = np.minimum(np.exp(rng.normal(5.2, 0.9, count)), 1024).astype(np.int64) + 4
    protein = np.minimum(rna * rng.uniform(0.5, 1.5, count), 1024).astype(np.int64)
    keys = rng.integers(0, int(count / 1.6), count)
    return Sizes(window_key=keys, rna=rna, protein=protein, window_cost=3e12, row_cost=5e8 * (rna + protein))


def contents(rows: np.ndarray, sizes: Sizes) -> tuple[int, ...]:
    rna, protein = int(sizes.rna[rows].sum()), int(sizes.protein[rows].sum())
    return len(np.unique(sizes.window_key[rows])), rna, protein, rna + protein


@pytest.mark.parametrize("order", ["windows", "transcripts"])
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("budget", [BudgetParams(), SINGLE_GPU, MANY_WINDOWS, TRANSCRIPTS])
def test_no_micro_batch_of_any_epoch_exceeds_the_largest_of_the_preflight(
    budget: BudgetParams, ranks: int, order: str
) -> None:
    sizes = drawn_sizes(700)
    recipe = TrainParams(budget=budget, batch_order=order, batch_transcripts=64, max_epochs=6, seed=3)  # type: ignore[arg-type]
    largest, divided = largest_micro_batches(sizes, recipe, ranks)
    most = np.max([contents(rows, sizes) for rows in largest], axis=0)
    for epoch in range(recipe.max_epochs):
        for rows in epoch_batches(sizes.window_key, 64, seed=3, epoch=epoch, order=order):
            plans = plan_step(rows, sizes, budget, ranks)
            assert divided or len(plans[0]) == 1
            for part in chain.from_iterable(plans):
                assert (np.array(contents(part, sizes)) <= most).all()


def test_the_preflight_of_a_long_training_fills_the_budget() -> None:
    # More epochs than are planned: what they could hold is not far above what was seen.
    sizes = drawn_sizes(700)
    largest, _ = largest_micro_batches(sizes, TrainParams(budget=MANY_WINDOWS, max_epochs=1000, max_steps=11), 1)
    windows, rna, protein, tokens = np.max([contents(rows, sizes) for rows in largest], axis=0)
    assert windows == 16
    assert min(rna, protein) >= 0.95 * 4096
    assert tokens >= 0.9 * 8192


def test_a_preflight_computes_the_largest_and_divides_where_the_training_does(
    tmp_path: Path,
    sanity_params: Params,
    transcripts: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    budget = {"dna_windows": 4, "rna_tokens": 900}
    overrides = {"overrides": {**QUIET, "dna": {"batch_norm": "frozen"}}}
    params = changed(sanity_params, model=overrides, train={"budget": budget, "max_steps": None})
    trainer = make_trainer(params, transcripts, tmp_path)
    computed: list[np.ndarray] = []
    compute = trainer.compute_gradients

    def note(micro_batches: list, count: float) -> list:  # type: ignore[type-arg]
        assert len(micro_batches) == 2, "the second runs beside the gradients of the first"
        computed.append(micro_batches[0].rows)
        return compute(micro_batches, count)

    monkeypatch.setattr(trainer, "compute_gradients", note)
    preflight(trainer)
    sizes = trainer.train_data.sizes
    wanted, _ = largest_micro_batches(sizes, params.train, 1)
    assert [rows.tolist() for rows in computed] == [rows.tolist() for rows in wanted]
    windows, rna, protein, _ = np.max([contents(rows, sizes) for rows in wanted], axis=0)
    assert windows == 4
    said = f"preflight: the {len(wanted)} largest micro-batches fit (up to 4 windows, {rna} RNA and {protein} protein"
    assert re.search(re.escape(said), capfd.readouterr().out)
