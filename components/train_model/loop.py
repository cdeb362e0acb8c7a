"""The training loop, top to bottom.

One process, N on one machine, or several machines (`isoformer train-model` writes SPEC.json and starts one of them)::

    python -m components.train_model.worker SPEC.json
    python -m torch.distributed.run --standalone --nproc-per-node N -m components.train_model.worker SPEC.json
    PET_NNODES=2 PET_NODE_RANK=… PET_MASTER_ADDR=… python -m torch.distributed.run -m components.train_model.worker …

Every rank plans the same global batches and computes its part of each, in micro-batches that keep to the budget; the
loss is weighted so that any division gives the gradient of one process. The loop can stop and go on at any optimizer
step: all that decides the next one is in the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.progress import track
from components.train_model.checkpoint import BEST, CHECKPOINTS, CheckpointWriter, Progress, open_step, take_up
from components.train_model.data import TranscriptData
from components.train_model.identity import check_identity
from components.train_model.loader import Counts, Loader, MicroBatch
from components.train_model.meter import Meter, matrix_peak
from components.train_model.optimization import (
    AveragedWeights,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    scheduled,
    trained_at_some_time,
)
from components.train_model.parallel import Parallel, compile_blocks, load_state
from components.train_model.recompute import recompute_activations
from components.train_model.sampler import check_budget, epoch_batches, plan_step
from components.train_model.stopping import Preempted, StopRequest
from components.train_model.tower_cache import TowerCache
from components.train_model.towers import forward_passes, set_trainable, switch_to_training
from components.train_model.trackers import Tracker
from components.train_model.trouble import diverged, memory_watched
from components.train_model.validation import StoppedWhileValidating, Validation, standardised
from components.train_sections import RuntimeParams, TrainParams
from model.adapters import folded
from model.isoformer import IsoFormer
from model.loss import observed_transcripts, squared_errors
from model.weights import CONFIG_FILE


class Trainer:
    """Trains `model` on `train`, keeps the epoch that is best on `valid`; all files go below `work`.

    `identity` says what run this is; a checkpoint of another one is refused. `caches`: filled, one per tower whose
    outputs are looked up.
    """

    def __init__(
        self,
        model: IsoFormer,
        train: TranscriptData,
        valid: TranscriptData,
        recipe: TrainParams,
        runtime: RuntimeParams,
        work: Path,
        device: torch.device,
        identity: Mapping[str, Any],
        caches: Mapping[str, TowerCache],
    ) -> None:
        self.recipe, self.runtime, self.work, self.device = recipe, runtime, work, device
        self.train_data, self.identity = train, dict(identity)
        self.model = model.to(device, torch.float64 if recipe.precision == "float64" else torch.float32)
        self.caches = dict(caches)
        for cache in self.caches.values():
            cache.install()
        recompute_activations(model, [name for name in runtime.recompute_activations if name not in self.caches])
        if recipe.compile:
            compile_blocks(model)
        set_trainable(model, recipe, epoch=0)
        self.parallel = Parallel(model, runtime.sharding, device, whole=self.caches)
        self.rank, self.ranks = self.parallel.rank, self.parallel.ranks
        self.optimizer = make_optimizer(model, recipe)
        self.parameters = [parameter for _, parameter in trained_at_some_time(model, recipe)]
        self.ema = AveragedWeights(model, recipe)
        train_labels = standardised(train, recipe.loss_tissues)
        if recipe.shuffle_labels:
            train_labels = np.random.default_rng(recipe.seed).permutation(train_labels)
        self.loader = self._loader(train, train_labels)
        valid_loader = self._loader(valid, standardised(valid, recipe.loss_tissues))
        self.validation = Validation(valid_loader, recipe.budget, self.parallel)
        self.progress = Progress()
        self.writer = CheckpointWriter(background=runtime.background_checkpoints)
        self.steps_per_epoch = math.ceil(len(train) / recipe.batch_transcripts)
        self.total_steps = int(min(recipe.max_steps or math.inf, recipe.max_epochs * self.steps_per_epoch))
        self.stop, self.stop_agreed = StopRequest(), False
        self.trackers: list[Tracker] = []
        self.meter = Meter(peak_flops=0.0)

    def _loader(self, data: TranscriptData, labels: np.ndarray) -> Loader:
        check_budget(data.sizes, self.recipe.budget, data.transcript_ids)
        dtype = torch.float64 if self.recipe.precision == "float64" else torch.float32
        passes = forward_passes(self.recipe, self.caches)
        return Loader(data=data, labels=labels, device=self.device, dtype=dtype, caches=self.caches, passes=passes)

    def run(self) -> None:
        """Train to the end, or to early stopping; resumes from the newest whole checkpoint."""
        self._resume()
        dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
        self.meter = Meter(peak_flops=matrix_peak(self.device, dtype) * self.ranks)
        shown = track(self.total_steps, "train", "steps", done=self.progress.step)
        with shown if self.rank == 0 else nullcontext(_silent) as advance:
            while self.progress.step_in_epoch or not self._finished():
                self._train_epoch(advance)
                with self.meter.paused():
                    self._end_epoch()
        self.writer.flush()
        if self.rank == 0 and self.meter.steps:
            print(self.meter.summary(self.loader.stalled_s), flush=True)

    def _finished(self) -> bool:
        patient = self.progress.epoch - self.progress.best_epoch <= self.recipe.patience_epochs
        return self.progress.step >= self.total_steps or not patient

    def _train_epoch(self, advance: Callable[..., None]) -> None:
        """The steps of the running epoch that are still to do."""
        recipe, epoch, data = self.recipe, self.progress.epoch, self.train_data
        if set_trainable(self.model, recipe, epoch=epoch):
            self.parallel.rewrap()
        batches = epoch_batches(
            data.window_key, recipe.batch_transcripts, seed=recipe.seed, epoch=epoch, order=recipe.batch_order
        )
        left = batches[self.progress.step_in_epoch :][: self.total_steps - self.progress.step]
        plans = (plan_step(rows, data.sizes, recipe.budget, self.ranks)[self.rank] for rows in left)
        mask = (recipe.token_mask_rate, recipe.seed, epoch) if recipe.token_mask_rate else None
        for rows, step in zip(left, self.loader.steps(plans, mask), strict=True):
            self._step(rows, step)
            advance(1, self.meter.line(self.loader.stalled_s))
            self._checkpoint_if_due()

    def _step(self, rows: np.ndarray, micro_batches: list[MicroBatch]) -> None:
        """One optimizer step: this rank's micro-batches of the global batch `rows`."""
        progress, recipe = self.progress, self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = scheduled(group["base_lr"], progress.step, self.total_steps, recipe)
        # The seed of dropout follows the step, so that a resumed run draws what an unbroken one would.
        torch.manual_seed(_stream_seed(recipe.seed, progress.step, self.rank))
        count = observed_transcripts(self.loader.labels[rows])
        errors = self.compute_gradients(micro_batches, count)
        norm = self.parallel.clip(self.parameters, recipe.gradient_clip_norm)
        # Sums over ranks agree on all of them: all stop, or none does.
        own = math.fsum(float(error.sum()) for error in errors) if len(errors) > 1 else errors[0].sum().item()
        totals = self.parallel.sum(torch.tensor([own, float(self.stop.requested)], dtype=torch.float64))
        loss_sum, self.stop_agreed = float(totals[0]), bool(totals[1] > 0)
        if not math.isfinite(loss_sum) or loss_sum > recipe.max_loss * count or not torch.isfinite(norm):
            own_losses = {
                int(row): float(error)
                for micro, error_B in zip(micro_batches, errors, strict=True)
                for row, error in zip(micro.rows, error_B, strict=True)
            }
            raise diverged(self.work, progress.step, rows, own_losses, self.train_data.transcript_ids, self.parallel)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(progress.step)
        progress.step += 1
        progress.step_in_epoch += 1
        progress.epoch_loss_sum += loss_sum
        progress.epoch_transcripts += count
        self._note(rows, micro_batches, loss_sum / count, float(norm))

    def compute_gradients(self, micro_batches: list[MicroBatch], count: float) -> list[torch.Tensor]:
        """Add up the gradient of a step of `count` transcripts; returns each micro-batch's squared errors, (B,)."""
        switch_to_training(self.parallel.network, self.model, self.recipe, self.progress.epoch)
        errors = []
        with memory_watched(self.recipe.budget, self.device) as computed:
            for index, micro in enumerate(micro_batches):
                computed.append(micro)
                with self.parallel.accumulate(last=index == len(micro_batches) - 1):
                    error_B = squared_errors(self._predict(self.parallel.network, micro), micro.labels)
                    # Ranks average gradients: times ranks over the global count, that average is the global mean.
                    (error_B.sum() * self.ranks / count).backward()
                errors.append(error_B.detach())
        return errors

    def _predict(self, network: torch.nn.Module, micro: MicroBatch) -> torch.Tensor:
        for name, cache in self.caches.items():
            cache.offered = micro.states[name]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            predicted: torch.Tensor = network(micro.inputs)
        return predicted.to(micro.labels.dtype)

    def _predict_whole(self, micro: MicroBatch) -> torch.Tensor:
        return self._predict(self.model, micro)

    def _note(self, rows: np.ndarray, micro_batches: list[MicroBatch], loss: float, norm: float) -> None:
        """Count what was computed, over all ranks, and tell the trackers."""
        own = sum((micro.counts for micro in micro_batches), Counts())
        # Equal parts are close enough for rates, and cost no communication.
        whole = Counts(**{key: value * self.ranks for key, value in vars(own).items()})
        whole.transcripts = len(rows)
        keys = [self.train_data.window_key[micro.rows] for micro in micro_batches]
        distinct = len(np.unique(np.concatenate(keys))) if self.model.config.dna is not None else 0
        self.meter.add(whole, len(micro_batches), distinct * self.ranks)
        if self.trackers:
            values = {"train/mse": loss, "train/gradient_norm": norm}
            values |= {f"speed/{name}": value for name, value in self.meter.figures(self.loader.stalled_s).items()}
            values |= {"train/learning_rate": self.optimizer.param_groups[0]["lr"]}
            for tracker in self.trackers:
                tracker.log(values, self.progress.step)

    def _end_epoch(self) -> None:
        """Judge on the validation split, keep the best weights, write a checkpoint."""
        progress = self.progress
        where = f"validation after epoch {progress.epoch}, optimizer step {progress.step}"
        try:
            with self.ema:
                scores = self.validation.scores(self._predict_whole, lambda: self.stop.requested, where)
                self._keep_if_best(scores)
        except StoppedWhileValidating:
            self._stop()
        entry = {
            "epoch": progress.epoch,
            "step": progress.step,
            "learning_rate": scheduled(self.recipe.learning_rate, progress.step, self.total_steps, self.recipe),
            "train_mse": progress.epoch_loss_sum / (progress.epoch_transcripts or 1),
            "valid_mse": scores["mse"],
            "valid_r2": scores["r2"],
        }
        progress.history.append(entry)
        if self.rank == 0:
            print(
                f"epoch {progress.epoch}: train MSE {entry['train_mse']:.4f}, "
                f"validation MSE {scores['mse']:.4f}, R² {scores['r2']:.4f}",
                flush=True,
            )
        for tracker in self.trackers:
            tracker.log({f"valid/{name}": value for name, value in scores.items()}, progress.step)
        progress.epoch += 1
        progress.step_in_epoch = 0
        progress.epoch_loss_sum = progress.epoch_transcripts = 0.0
        self._checkpoint()

    def _keep_if_best(self, scores: Mapping[str, float]) -> None:
        progress = self.progress
        metric = -scores["r2"] if self.recipe.early_stopping_metric == "r2" else scores["mse"]
        if progress.best_metric is None or metric < progress.best_metric:
            progress.best_metric, progress.best_epoch = metric, progress.epoch
            tensors = {"model": dict(self.parallel.whole(self.model.state_dict()))}
            if self.rank == 0:
                # As many as checkpoints: each of those finds the best model that it knows of.
                kept = self.runtime.keep_checkpoints
                # A model that others can read, whenever training may end.
                tensors["model"] = folded(self.model, tensors["model"])
                self.writer.save(
                    self.work / BEST,
                    Progress(step=progress.step),
                    self.identity,
                    tensors,
                    kept=kept,
                    documents={CONFIG_FILE: self.model.config.to_dict()},
                )

    def _checkpoint_if_due(self) -> None:
        if self.stop_agreed:
            self._stop()
        if self.progress.step % self.recipe.checkpoint_every_steps == 0:
            self._checkpoint()

    def _stop(self) -> None:
        self._checkpoint()
        self.writer.flush()
        # torchrun kills the others soon after one has ended: none does before the state is on disk.
        self.parallel.barrier()
        raise Preempted(f"stopped at optimizer step {self.progress.step}, checkpoint written")

    def _checkpoint(self) -> None:
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.model, self.optimizer),
            "ema": self.ema.tensors,
        }
        whole = {name: dict(self.parallel.whole(tensors)) for name, tensors in groups.items() if tensors}
        if self.rank == 0:
            folder = self.work / CHECKPOINTS
            self.writer.save(folder, self.progress, self.identity, whole, kept=self.runtime.keep_checkpoints)

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint, which rank 0 has verified before others open it."""
        newest = take_up(self.work) if self.rank == 0 else None
        # One more, so that 0 says there is none.
        step = int(self.parallel.sum_number(float(newest.progress.step + 1) if newest else 0.0)) - 1
        if step < 0:
            return
        found = newest or open_step(self.work / CHECKPOINTS, step)
        resharded = check_identity(
            found.identity, self.identity, where=str(found.path), allow_reshard=self.runtime.allow_reshard
        )
        self.progress = found.progress
        # Where rank 0 found no best weights, no rank knows of any.
        if not self.parallel.sum_number(float(self.rank == 0 and found.progress.best_metric is not None)):
            self.progress.best_metric = None
        if resharded:
            self.progress.resharded.append({"step": step, **resharded})
        set_trainable(self.model, self.recipe, epoch=self.progress.epoch)
        load_state(self.model, found.tensors("model"))
        restore_optimizer(self.model, self.optimizer, found.tensors("optimizer"))
        self.ema.restore(found.tensors("ema"))
        self.parallel.rewrap()
        if self.rank == 0:
            print(f"resuming at optimizer step {step}, epoch {self.progress.epoch}", flush=True)


def _stream_seed(*numbers: int) -> int:
    """A seed of its own for each (recipe seed, optimizer step, rank)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _silent(*_: Any) -> None:
    """Show nothing."""
