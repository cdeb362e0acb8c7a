"""What must not change the result does not: budgets, recomputation, caches; and what is wrong is named."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from components.params import Params
from components.train_model.data import clustered_starts
from components.train_model.identity import check_identity, differences
from components.train_model.preflight import preflight
from components.train_model.recompute import recompute_activations
from components.train_model.sampler import epoch_batches, plan_step
from components.train_model.spec import Spec
from components.train_model.step import run, run_preflight
from components.train_model.stopping import Preempted, StopRequest
from components.train_model.tower_cache import TowerCache
from components.train_model.towers import check_origins, origin_lines
from components.train_model.trackers import Accelerate, Dispensable, open_trackers
from components.train_model.trouble import memory_advice
from components.train_model.worker import train
from components.train_sections import BudgetParams
from model.errors import InputError
from model.loss import observed_transcripts
from model.weights import load_model
from tests.components.train_model.trainers import make_trainer, train_steps
from tests.components.train_model.workers import QUIET, changed

FROZEN_NORM = {**QUIET, "dna": {"batch_norm": "frozen"}}


def exact(params: Params, **train: object) -> Params:
    recipe = {"precision": "float64", "batch_transcripts": 64, "max_steps": None, **train}
    return changed(params, model={"overrides": FROZEN_NORM}, train=recipe)


def largest_difference(first: torch.nn.Module, second: torch.nn.Module) -> float:
    other = second.state_dict()
    return max(float((value - other[name]).abs().max()) for name, value in first.state_dict().items())


def test_budgets_divide_a_step_and_change_no_gradient(tmp_path: Path, sanity_params: Params, transcripts: Path) -> None:
    whole = make_trainer(exact(sanity_params), transcripts, tmp_path / "a")
    budget = {"dna_windows": 9, "rna_tokens": 900, "protein_tokens": 700}
    divided = make_trainer(exact(sanity_params, budget=budget), transcripts, tmp_path / "b")
    assert train_steps(whole, 4) == pytest.approx(train_steps(divided, 4), rel=1e-12)
    assert largest_difference(whole.model, divided.model) <= 1e-12
    assert whole.meter.micro_batches == 4
    assert divided.meter.micro_batches > 20
    # Windows stay whole: none is encoded twice for the sake of the budget.
    assert divided.meter.total.windows == whole.meter.total.windows


@pytest.mark.parametrize("batch_norm", ["frozen", "global"])
def test_recomputed_activations_give_the_same_gradients_and_statistics(
    tmp_path: Path, sanity_params: Params, transcripts: Path, batch_norm: str
) -> None:
    params = changed(sanity_params, model={"overrides": {"dna": {"batch_norm": batch_norm, "dropout": 0.2}}})
    kept = make_trainer(params, transcripts, tmp_path / "a")
    again = make_trainer(
        changed(params, runtime={"recompute_activations": ["dna", "rna", "protein"]}), transcripts, tmp_path / "b"
    )
    assert train_steps(kept, 3) == train_steps(again, 3)
    assert largest_difference(kept.model, again.model) == 0


def test_recomputation_keeps_less(sanity_params: Params, transcripts: Path, tmp_path: Path) -> None:
    held = []
    for towers in ([], ["dna", "rna", "protein"]):
        trainer = make_trainer(sanity_params, transcripts, tmp_path)
        recompute_activations(trainer.model, towers)
        micro = trainer.loader.make(np.arange(16))
        total = 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trainer.model.train()(micro.inputs).sum()
        held.append(total)
    assert held[1] < 0.7 * held[0]


def test_a_preflight_changes_nothing(tmp_path: Path, sanity_params: Params, transcripts: Path) -> None:
    first, second = (make_trainer(sanity_params, transcripts, tmp_path / name) for name in "ab")
    preflight(second)
    assert train_steps(first, 2) == train_steps(second, 2)
    assert largest_difference(first.model, second.model) == 0


def test_a_preflight_alone_trains_nothing_and_leaves_nothing(
    tmp_path: Path, sanity_params: Params, transcripts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_preflight({"transcripts": transcripts}, sanity_params, tmp_path / "work")
    said = capfd.readouterr().out
    assert re.search(r"preflight: the \d largest micro-batches fit", said)
    assert "epoch" not in said
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []


def test_missing_labels_weigh_nothing(tmp_path: Path, sanity_params: Params, transcripts: Path) -> None:
    trainer = make_trainer(exact(sanity_params), transcripts, tmp_path)
    rows, labels = np.arange(20), trainer.loader.labels
    labels[3:9, 4:] = np.nan
    micro = [trainer.loader.make(rows[:7]), trainer.loader.make(rows[7:])]
    trainer.compute_gradients(micro, observed_transcripts(labels[rows]))
    parameter = trainer.parameters[0]
    divided = parameter.grad.clone()
    trainer.optimizer.zero_grad()
    whole = trainer.loader.make(rows)
    seen = ~whole.labels.isnan()
    ((trainer.model(whole.inputs)[seen] - whole.labels[seen]) ** 2).mean().backward()
    torch.testing.assert_close(divided, parameter.grad, rtol=1e-10, atol=1e-14)


@pytest.fixture
def pretrained(model: Path, sanity_params: Params) -> Params:
    """Every tower from a trained model."""
    payload = str(model / "payload")
    weights = {"dna": payload, "rna": payload, "protein": payload}
    return changed(sanity_params, data={"weights": weights}, train={"max_steps": None, "batch_transcripts": 64})


def frozen(*names: str) -> dict[str, object]:
    return {name: {"trainable": "none" if name in names else "all"} for name in ("dna", "rna", "protein")}


def test_a_cache_answers_like_the_frozen_towers_and_is_filled_once(
    tmp_path: Path, pretrained: Params, transcripts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    params = changed(pretrained, train={"towers": frozen("dna", "protein")})
    cached = changed(
        params, train={"cache_frozen_towers": True}, runtime={"tower_cache": str(tmp_path / "cache"), "sharding": "ddp"}
    )
    plain = make_trainer(params, transcripts, tmp_path / "a")
    looked_up = make_trainer(cached, transcripts, tmp_path / "b")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    windows = len(set(plain.train_data.window_key.tolist()))
    assert len(files) > windows
    assert train_steps(plain, 4) == pytest.approx(train_steps(looked_up, 4), rel=1e-5)
    again = make_trainer(cached, transcripts, tmp_path / "c")
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    for name in ("dna", "protein"):
        assert all(not parameter.requires_grad for parameter in again.model.encoders[name].parameters())
    # Other weights never meet these files.
    with torch.no_grad():
        again.model.encoders["dna"].stem_conv.weight.add_(1)  # type: ignore[union-attr,operator,arg-type]
    assert TowerCache(again.model, "dna", tmp_path / "cache", torch.float32).folder != looked_up.caches["dna"].folder


def test_a_cache_larger_than_the_disk_is_refused_before_it_is_filled(
    tmp_path: Path, pretrained: Params, transcripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    full = shutil._ntuple_diskusage(10**9, 94 * 10**7, 6 * 10**7 - 10**7)  # type: ignore[attr-defined]
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    params = changed(pretrained, train={"towers": frozen("dna"), "cache_frozen_towers": True})
    with pytest.raises(InputError, match=r"GB for the dna tower's outputs.*5% of the disk stays free.*tower_cache"):
        make_trainer(params, transcripts, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_filling_a_cache_keeps_no_windows_in_memory(tmp_path: Path, pretrained: Params, transcripts: Path) -> None:
    trainer = make_trainer(pretrained, transcripts, tmp_path)
    window = np.zeros(100_000, dtype=np.uint8)

    class ManyWindows:
        """1,500 windows that all differ, 150 MB."""

        window_key, labels = np.arange(1500), None

        def __len__(self) -> int:
            return len(self.window_key)

        def batch(self, rows: np.ndarray, _: None) -> SimpleNamespace:
            windows = np.tile(window, (len(rows), 1))
            windows[:, :8] = rows[:, None].view(np.uint8)
            return SimpleNamespace(inputs=SimpleNamespace(windows=windows))

    cache = TowerCache(trainer.model, "dna", tmp_path, torch.float32)
    tracemalloc.start()
    try:
        missing = cache._missing([ManyWindows()])  # type: ignore[list-item]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(missing) == 1500
    assert peak < 75e6


def test_adapters_train_alone_and_are_folded_into_the_model(
    tmp_path: Path, pretrained: Params, transcripts: Path, model: Path
) -> None:
    towers = {
        "dna": {"trainable": "none"},
        "rna": {"trainable": "lora", "lora_rank": 2},
        "protein": {"trainable": "all"},
    }
    params = changed(pretrained, train={"towers": towers, "max_steps": 4})
    run({"transcripts": transcripts}, params, tmp_path / "tuned", tmp_path / "work")
    before, after = load_model(model / "payload"), load_model(tmp_path / "tuned" / "payload")
    assert largest_difference(before.encoders["dna"], after.encoders["dna"]) == 0
    moved = {
        name
        for name, value in before.encoders["rna"].state_dict().items()
        if not torch.equal(value, after.encoders["rna"].state_dict()[name])
    }
    assert moved == {"layers.0.query_key_value.weight", "layers.0.attention_output.weight"}
    manifest = json.loads((tmp_path / "tuned" / "manifest.json").read_text())
    assert {"weights_dna", "weights_rna", "weights_protein"} <= manifest["inputs"].keys()
    assert after.origins["rna"].sha256 in (tmp_path / "tuned" / "payload" / "README.md").read_text()


def test_a_tower_is_unfrozen_when_the_recipe_says(tmp_path: Path, pretrained: Params, transcripts: Path) -> None:
    towers = {"dna": {"trainable": "last_blocks", "last_blocks": 1, "unfreeze_epoch": 1}}
    params = changed(pretrained, train={"towers": towers, "max_steps": 8, "max_epochs": 2})
    trainer = make_trainer(params, transcripts, tmp_path)
    stem = trainer.model.encoders["dna"].stem_conv.weight
    start = stem.detach().clone()
    trainer._train_epoch(lambda *_: None)
    assert torch.equal(stem, start)
    trainer._end_epoch()
    trainer._train_epoch(lambda *_: None)
    assert not torch.equal(stem, start)


def test_a_tower_is_frozen_or_adapted_only_with_weights_of_its_own(
    tmp_path: Path, sanity_params: Params, transcripts: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    payload = str(model / "payload")
    towers = {"dna": {"trainable": "none"}, "rna": {"trainable": "last_blocks", "last_blocks": 1}}
    towers["protein"] = {"trainable": "lora"}

    def train(out: str, **weights: str) -> str:
        params = changed(sanity_params, data={"weights": weights}, train={"towers": towers, "max_steps": 1})
        run({"transcripts": transcripts}, params, tmp_path / out, tmp_path / "work")
        return capfd.readouterr().out

    with pytest.raises(InputError, match=r"random weights for dna \(none\), protein \(lora\).*data.weights.dna, data"):
        train("one", rna=payload)
    with pytest.raises(InputError, match=r"towers.rna.trainable: .*random weights for rna \(last_blocks\)"):
        train("two", dna=payload, protein=payload)
    said = train("three", dna=payload, rna=payload, protein=payload)
    assert [line for line in said.splitlines() if line.startswith("weights of")] == [
        *(f"weights of {name}: {payload} (isoformer)" for name in ("dna", "rna", "protein")),
        "weights of fusion and head: random",
    ]
    assert f"weights of rna: {payload}" in train("whole", isoformer=payload)


def test_what_starts_at_random_is_said(sanity_params: Params, transcripts: Path, model: Path, tmp_path: Path) -> None:
    params = changed(sanity_params, data={"weights": {"rna": str(model / "payload")}})
    trainer = make_trainer(params, transcripts, tmp_path)
    check_origins(trainer.model, params.train)
    assert origin_lines(trainer.model, params.data.weights) == [
        "weights of dna: random",
        f"weights of rna: {model / 'payload'} (isoformer)",
        "weights of protein: random",
        "weights of fusion and head: random",
    ]


def test_a_budget_with_global_batch_statistics_is_refused(
    tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    budget = changed(sanity_params, train={"budget": {"dna_windows": 4}})
    with pytest.raises(InputError, match=r"train.budget: .*batch_norm"):
        run({"transcripts": transcripts}, budget, tmp_path / "m", tmp_path / "w")


def test_a_loss_that_explodes_names_the_transcripts_and_keeps_them(
    tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    trainer = make_trainer(changed(sanity_params, train={"schedule": "constant"}), transcripts, tmp_path)
    train_steps(trainer, 1)
    rows = epoch_batches(trainer.train_data.window_key, 16, seed=0, epoch=0)[1]
    trainer.loader.labels[rows[5]] = np.inf
    with pytest.raises(InputError, match=r"optimizer step 1: .*1 of 16 transcripts"):
        train_steps(trainer, 1)
    kept = json.loads((tmp_path / "offending-batch.json").read_text())
    assert kept["optimizer_step"] == 1
    assert kept["transcripts"][0] == {
        "transcript_id": trainer.train_data.transcript_ids[rows[5]],
        "squared_error": "inf",
    }
    assert len(kept["transcripts"]) == 16


def test_bf16_and_compiled_blocks_train_much_the_same(tmp_path: Path, sanity_params: Params, transcripts: Path) -> None:
    plain = train_steps(make_trainer(sanity_params, transcripts, tmp_path / "a"), 3)
    half = train_steps(
        make_trainer(changed(sanity_params, train={"precision": "bf16"}), transcripts, tmp_path / "b"), 3
    )
    assert half == pytest.approx(plain, rel=0.02)
    assert half != plain


@pytest.mark.slow
def test_compiled_blocks_train_the_same(tmp_path: Path, sanity_params: Params, transcripts: Path) -> None:
    plain = train_steps(make_trainer(sanity_params, transcripts, tmp_path / "a"), 3)
    compiled = make_trainer(changed(sanity_params, train={"compile": True}), transcripts, tmp_path / "b")
    assert train_steps(compiled, 3) == pytest.approx(plain, rel=1e-4)


def test_start_sites_that_are_close_share_the_window_of_the_first() -> None:
    start = np.array([100, 110, 125, 100, 131, 90])
    got = clustered_starts(["c"] * 6, list("+++-++"), start, 30)
    assert got.tolist() == [90, 90, 125, 100, 125, 90]
    assert clustered_starts(["c", "d"], ["+", "+"], np.array([5, 5]), 9).tolist() == [5, 5]


def test_micro_batches_of_like_length_waste_little_attention(
    tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    trainer = make_trainer(exact(sanity_params), transcripts, tmp_path)
    rows = np.arange(len(trainer.train_data))
    plan = plan_step(rows, trainer.train_data.sizes, BudgetParams(transcripts=32))[0]
    counts = [trainer.loader.make(part).counts for part in plan]
    assert all(item.attention_places >= item.tokens for item in counts)
    assert all(0 <= item.padding <= 0.05 for item in counts)
    mixed = trainer.loader.make(rows).counts
    assert sum(item.padding_flops for item in counts) > 0
    assert mixed.transcripts == len(rows)


def test_lack_of_memory_is_told_as_numbers() -> None:
    contents = {"transcripts": 64, "dna_windows": 40, "rna_tokens": 30_000, "protein_tokens": 0}
    error = memory_advice(contents, BudgetParams(dna_windows=40), "CUDA out of memory", affordable=0.5)
    assert "Lower train.budget.dna_windows=17 (now 40)" in error.fix
    assert "train.budget.rna_tokens=12750 (now unbounded)" in error.fix
    assert "One transcript does not fit" in memory_advice({"transcripts": 1}, BudgetParams(), "", None).fix


def test_what_a_checkpoint_belongs_to_is_compared_value_by_value() -> None:
    before = {"inputs": {"transcripts": "a"}, "config": {"train": {"learning_rate": 1e-3}}, "processes": 2}
    before |= {"sharding": "ddp", "environment": {"torch": "1"}}
    assert check_identity(before, {**before, "environment": {}}, where="x", allow_reshard=False) is None
    now = {**before, "config": {"train": {"learning_rate": 2e-3}}, "inputs": {"transcripts": "b"}}
    assert len(differences(before, now)) == 2
    with pytest.raises(InputError, match=r"config.train.learning_rate: 0.001 → 0.002; inputs.transcripts: a → b"):
        check_identity(before, now, where="x", allow_reshard=True)


def test_trackers_write_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # accelerate's own TensorBoard tracker stands for its services, which are not installed here.
    trackers = [*open_trackers(["tensorboard"], tmp_path / "own", {}), Accelerate("tensorboard", tmp_path / "hf", {})]
    for tracker in trackers:
        tracker.log({"train/mse": 0.5}, 3)
        tracker.close()
    for folder in (tmp_path / "own", tmp_path / "hf" / "isoformer"):
        events = EventAccumulator(str(folder)).Reload()
        assert [(event.step, event.value) for event in events.Scalars("train/mse")] == [(3, 0.5)]
    with pytest.raises(InputError, match=r"package wandb.*pip install wandb"):
        open_trackers(["wandb"], tmp_path, {})


def test_a_tracker_that_cannot_start_is_named_and_one_that_fails_later_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from accelerate import tracking

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("nobody answers")

    (ours,) = open_trackers(["tensorboard"], tmp_path / "own", {})
    theirs = Dispensable("mlflow", Accelerate("tensorboard", tmp_path / "hf", {}))
    with monkeypatch.context() as patch:
        patch.setattr(tracking.TensorBoardTracker, "log", unreachable)
        patch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", unreachable)
        for step in range(3):
            for tracker in (ours, theirs):
                tracker.log({"train/mse": 0.5}, step)
    told = capsys.readouterr().err
    for name in ("tensorboard", "mlflow"):
        assert told.count(f"tracker {name} failed and is left out") == 1
    monkeypatch.setattr(tracking.TensorBoardTracker, "start", unreachable)
    with pytest.raises(InputError, match=r"runtime\.trackers: expected tensorboard to start, found ConnectionError"):
        Accelerate("tensorboard", tmp_path, {})


def test_the_best_model_so_far_can_be_read_while_training_runs(
    tmp_path: Path, pretrained: Params, transcripts: Path
) -> None:
    """Of adapted towers too: whenever training ends, there is a model."""
    towers = {"rna": {"trainable": "lora", "lora_rank": 2}}
    trainer = make_trainer(changed(pretrained, train={"towers": towers}), transcripts, tmp_path)
    train_steps(trainer, 2)
    trainer._end_epoch()
    trainer.writer.flush()
    model = load_model(next((tmp_path / "best").glob("step-*")))
    micro = trainer.loader.make(np.arange(8))
    with torch.no_grad():
        expected = trainer.model.eval()(micro.inputs)
        torch.testing.assert_close(model(micro.inputs), expected, rtol=0, atol=1e-5)


def test_a_stopped_training_ends_once_its_state_is_written_and_its_curves_are_closed(
    tmp_path: Path, sanity_params: Params, transcripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several processes none ends before: torchrun would kill the one that writes."""
    seen: list[str] = []
    trainer = make_trainer(sanity_params, transcripts, tmp_path / "alone")
    monkeypatch.setattr(
        trainer.parallel, "barrier", lambda: seen.extend(p.name for p in (trainer.work / "checkpoints").iterdir())
    )
    with pytest.raises(Preempted):
        trainer._stop()
    assert seen == ["step-00000000"]

    class Curves:
        def log(self, values: object, step: int) -> None: ...

        def close(self) -> None:
            seen.append("closed")

    def stopped(_: object) -> None:
        raise Preempted

    monkeypatch.setattr("components.train_model.worker.open_trackers", lambda *_: [Curves()])
    monkeypatch.setattr("components.train_model.worker.Trainer.run", stopped)
    threads, exact_only = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        with pytest.raises(Preempted):
            train(
                Spec(payload=transcripts / "payload", params=sanity_params, work=tmp_path, logs=tmp_path / "logs"),
                StopRequest(),
            )
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(exact_only)
    assert seen[-1] == "closed"
