"""Every knob of the recipe does what it says: each test fails where the knob is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.params import Params
from components.train_model.loop import Trainer
from components.train_model.optimization import part_of
from components.train_model.plot import kept_epoch, plot_history
from components.train_model.towers import check_recipe
from model.errors import InputError
from model.weights import load_model
from tests.components.train_model.trainers import make_trainer, train_steps
from tests.components.train_model.workers import QUIET, changed


@pytest.fixture
def plain(sanity_params: Params) -> Params:
    """No dropout, a constant rate, no clipping to speak of."""
    recipe = {"schedule": "constant", "warmup_steps": 0, "gradient_clip_norm": 1e9, "max_steps": None, "max_epochs": 3}
    return changed(sanity_params, model={"overrides": QUIET}, train=recipe)


def parameters_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def held_for_backward(trainer: Trainer) -> int:
    """Bytes that a forward pass keeps."""
    total = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.model.train()(trainer.loader.make(np.arange(16)).inputs).sum()
    return total


def test_each_part_learns_at_its_own_rate(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    rates = {"dna": 1e-4, "rna": 2e-4, "protein": 3e-4, "fusion": 4e-4, "head": 5e-4}
    towers = {name: {"learning_rate": rates[name]} for name in ("dna", "rna", "protein")}
    recipe = {"towers": towers, "fusion_learning_rate": 4e-4, "head_learning_rate": 5e-4}
    trainer = make_trainer(changed(plain, train=recipe), transcripts, tmp_path)
    before = parameters_of(trainer)
    train_steps(trainer, 1)
    moved: dict[str, float] = {}
    for name, value in parameters_of(trainer).items():
        part = part_of(name)
        moved[part] = max(moved.get(part, 0.0), float((value - before[name]).abs().max()))
    # Adam's first step is as long as the rate wherever the gradient is far from zero.
    assert moved == pytest.approx(rates, rel=1e-3)


def rates_of(trainer: Trainer, steps: int) -> list[float]:
    rates = []
    trainer.optimizer.register_step_pre_hook(lambda *_: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    train_steps(trainer, steps)
    return rates


def test_rates_warm_up_and_follow_a_cosine(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    recipe = {"learning_rate": 1e-3, "warmup_steps": 4, "schedule": "cosine", "max_steps": 12}
    trainer = make_trainer(changed(plain, train=recipe), transcripts, tmp_path / "a")
    total, rates = 12, []
    trainer.optimizer.register_step_pre_hook(lambda *_: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    trainer._train_epoch(lambda *_: None)
    assert rates[:4] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    wanted = [1e-3 * (0.01 + 0.495 * (1 + np.cos(np.pi * (step - 4) / (total - 4)))) for step in range(4, 12)]
    assert rates[4:] == pytest.approx(wanted)
    constant = make_trainer(changed(plain, train={"learning_rate": 1e-3}), transcripts, tmp_path / "b")
    assert rates_of(constant, 3) == [1e-3] * 3


def test_gradients_are_clipped_to_the_norm(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    norms = []
    for limit in (1e9, 0.01):
        trainer = make_trainer(changed(plain, train={"gradient_clip_norm": limit}), transcripts, tmp_path)

        def note(*_: Any, trainer: Trainer = trainer) -> None:
            norms.append(float(torch.stack([p.grad.norm() for p in trainer.parameters if p.grad is not None]).norm()))

        trainer.optimizer.register_step_pre_hook(note)
        train_steps(trainer, 1)
    assert norms[0] > 0.02
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_adamw_shrinks_matrices_alone(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    recipe = {"optimizer": "adamw", "learning_rate": 1e-3, "adam_beta2": 0.9}
    bare = make_trainer(changed(plain, train=recipe), transcripts, tmp_path)
    decayed = make_trainer(changed(plain, train={**recipe, "weight_decay": 10.0}), transcripts, tmp_path)
    before = parameters_of(bare)
    train_steps(bare, 1)
    train_steps(decayed, 1)
    other = parameters_of(decayed)
    for name, value in parameters_of(bare).items():
        # AdamW: x ← x (1 − rate · decay) before the step.
        shrunk = before[name] * (1e-3 * 10.0) if value.ndim > 1 else torch.zeros(())
        torch.testing.assert_close(value - other[name], shrunk.expand_as(value), rtol=1e-3, atol=1e-6)
    assert all(group["betas"] == (0.9, 0.9) for group in decayed.optimizer.param_groups)


def test_validation_reads_the_averaged_weights_and_they_are_kept(
    plain: Params, transcripts: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(changed(plain, train={"ema_decay": 0.8}), transcripts, tmp_path)
    name = "head.outer.weight"
    parameter = dict(trainer.model.named_parameters())[name]
    average, step = parameter.detach().clone(), 0

    def follow(*_: Any) -> None:
        nonlocal average, step
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * parameter.detach()
        step += 1

    trainer.optimizer.register_step_post_hook(follow)
    seen = []
    predict = trainer._predict_whole
    trainer._predict_whole = lambda micro: (seen.append(parameter.detach().clone()), predict(micro))[1]  # type: ignore[method-assign]
    train_steps(trainer, 5)
    own = parameter.detach().clone()
    trainer._end_epoch()
    trainer.writer.flush()
    torch.testing.assert_close(seen[0], average)
    assert not torch.allclose(own, average)
    assert torch.equal(parameter, own), "training goes on with its own weights"
    from components.train_model.checkpoint import find_newest

    best = find_newest(tmp_path / "best")
    assert best is not None
    torch.testing.assert_close(best.tensors("model")[name], average)


@pytest.mark.parametrize(("metric", "epochs", "best"), [("mse", 4, 1), ("r2", 6, 3)])
def test_training_stops_when_the_metric_has_not_improved_for_so_long(
    plain: Params, transcripts: Path, tmp_path: Path, metric: str, epochs: int, best: int
) -> None:
    recipe = {"early_stopping_metric": metric, "patience_epochs": 2, "max_epochs": 50, "batch_transcripts": 247}
    trainer = make_trainer(changed(plain, train=recipe, runtime={"preflight": False}), transcripts, tmp_path)
    told = iter([(0.9, 0.1), (0.5, 0.2), (0.6, 0.3), (0.7, 0.4), (0.8, 0.3), (0.8, 0.3), (0.1, 0.9)])

    class Told:
        def scores(self, *_: Any) -> dict[str, float]:
            return dict(zip(("mse", "r2"), next(told), strict=True))

    trainer.validation = Told()  # type: ignore[assignment]
    trainer._train_epoch = lambda _: None  # type: ignore[method-assign,assignment,misc]
    trainer.run()
    assert (trainer.progress.epoch, trainer.progress.best_epoch) == (epochs, best)
    assert kept_epoch(trainer.progress.history, metric) == best, "the plot marks it"


@pytest.mark.parametrize(("metric", "epoch", "label"), [("mse", 2, "lowest validation MSE"), ("r2", 3, "highest")])
def test_the_plot_marks_the_epoch_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, epoch: int, label: str
) -> None:
    from matplotlib.axes import Axes

    scores = [(0.9, 0.1), (0.5, 0.2), (0.6, 0.3), (0.7, 0.3)]
    history = [
        {"epoch": number, "train_mse": mse, "valid_mse": mse, "valid_r2": r2} for number, (mse, r2) in enumerate(scores)
    ]
    drawn, draw = [], Axes.axvline

    def note(axes: Axes, x: float, **options: Any) -> Any:
        drawn.append((x, options["label"]))
        return draw(axes, x, **options)

    monkeypatch.setattr(Axes, "axvline", note)
    plot_history(history, tmp_path / "loss.png", metric=metric)
    assert [x for x, _ in drawn] == [epoch, epoch]
    assert all(label in said for _, said in drawn)


def test_hidden_tokens_change_what_is_read_and_differ_by_epoch(
    plain: Params, transcripts: Path, tmp_path: Path
) -> None:
    losses = [
        train_steps(make_trainer(changed(plain, train={"token_mask_rate": rate}), transcripts, tmp_path), 1)
        for rate in (0.0, 0.5, 0.5)
    ]
    assert losses[0] != losses[1] == losses[2]
    trainer = make_trainer(plain, transcripts, tmp_path)
    rows = np.arange(8)
    first, again, later = (trainer.loader.make(rows, (0.5, 0, epoch)).inputs.rna.tokens for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_the_order_of_batches_follows_the_recipe(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    encoded = {}
    for order in ("windows", "transcripts"):
        trainer = make_trainer(changed(plain, train={"batch_order": order}), transcripts, tmp_path)
        trainer._train_epoch(lambda *_: None)
        encoded[order] = trainer.meter.total.windows
        assert trainer.meter.total.transcripts == len(trainer.train_data)
    distinct = len(np.unique(trainer.train_data.window_key))
    # Together: at most one window more per step, where a batch ends between two transcripts of it.
    assert distinct <= encoded["windows"] <= distinct + trainer.steps_per_epoch < encoded["transcripts"]


def test_start_sites_are_clustered_where_the_recipe_says(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    from components.train_model.data import TranscriptData

    data = make_trainer(plain, transcripts, tmp_path).train_data
    clustered = TranscriptData(transcripts / "payload", data.config, "train", tss_cluster_bp=10_000)
    assert len(np.unique(clustered.window_key)) < len(np.unique(data.window_key))


def test_labels_are_shuffled_and_losses_limited_where_asked(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    honest, shuffled = (
        make_trainer(changed(plain, train={"shuffle_labels": value}), transcripts, tmp_path).loader.labels
        for value in (False, True)
    )
    assert not np.array_equal(honest, shuffled)
    assert np.array_equal(np.sort(honest, axis=0), np.sort(shuffled, axis=0))
    with pytest.raises(InputError, match=r"below train\.max_loss"):
        train_steps(make_trainer(changed(plain, train={"max_loss": 1e-3}), transcripts, tmp_path), 1)


def test_only_the_tissues_that_count_are_learned_and_judged(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    tissues = make_trainer(plain, transcripts, tmp_path).model.config.tissues
    trainer = make_trainer(changed(plain, train={"loss_tissues": list(tissues[1:3])}), transcripts, tmp_path)
    before = trainer.model.head.outer.weight.detach().clone()
    (loss_sum,) = train_steps(trainer, 1)
    assert trainer.progress.epoch_transcripts == pytest.approx(16 * 2 / len(tissues))
    assert 0.1 < loss_sum / trainer.progress.epoch_transcripts < 10
    moved = (trainer.model.head.outer.weight != before).any(dim=1).tolist()
    assert moved == [name in tissues[1:3] for name in tissues]
    predicted = trainer.validation.predict(trainer._predict_whole, lambda: False)[:, 1:3]
    labels = trainer.validation.loader.labels[:, 1:3]
    error, spread = ((predicted - labels) ** 2).mean(axis=0), labels.var(axis=0)
    scores = trainer.validation.scores(trainer._predict_whole)
    assert scores == pytest.approx({"mse": error.mean(), "r2": (1 - error / spread).mean()}, rel=1e-5)
    wrong = changed(plain, train={"loss_tissues": ["Livr"]})
    with pytest.raises(InputError, match=r"found Livr"):
        check_recipe(trainer.model, wrong.train, wrong.runtime)


@pytest.mark.parametrize("tower", ["dna", "rna", "protein"])
def test_each_tower_recomputes_by_itself(plain: Params, transcripts: Path, tmp_path: Path, tower: str) -> None:
    kept = held_for_backward(make_trainer(plain, transcripts, tmp_path))
    less = held_for_backward(
        make_trainer(changed(plain, runtime={"recompute_activations": [tower]}), transcripts, tmp_path)
    )
    assert less < 0.97 * kept


def test_blocks_are_compiled_only_where_asked(plain: Params, transcripts: Path, tmp_path: Path) -> None:
    compiled = []
    for option in (False, True):
        trainer = make_trainer(changed(plain, train={"compile": option}), transcripts, tmp_path)
        blocks = [*trainer.model.encoders["dna"].tower, *trainer.model.encoders["dna"].transformer]  # type: ignore[misc]
        compiled.append([block._compiled_call_impl is not None for block in blocks])
    assert not any(compiled[0])
    assert all(compiled[1])


def test_last_blocks_are_trained_and_the_rest_stands_still(
    plain: Params, transcripts: Path, tmp_path: Path, model: Path
) -> None:
    weights = {"weights": {"rna": str(model / "payload")}}
    recipe = {"towers": {"rna": {"trainable": "last_blocks", "last_blocks": 1}}}
    trainer = make_trainer(changed(plain, data=weights, train=recipe), transcripts, tmp_path)
    train_steps(trainer, 1)
    before = load_model(model / "payload").encoders["rna"].state_dict()
    after = trainer.model.encoders["rna"].state_dict()
    moved = {name.rsplit(".", 2)[0] for name in before if not torch.equal(before[name], after[name])}
    layers = len(trainer.model.encoders["rna"].layers)  # type: ignore[arg-type]
    assert f"layers.{layers - 1}" in {".".join(name.split(".")[:2]) for name in moved}
    assert not any(name.startswith("embedding") for name in moved)
