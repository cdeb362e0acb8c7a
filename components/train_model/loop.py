"""The training loop, top to bottom.

One process, or N on one machine (`isoformer train-model` writes SPEC.json and starts one or the other)::

    python -m components.train_model.worker SPEC.json
    python -m torch.distributed.run --standalone --nproc-per-node N -m components.train_model.worker SPEC.json

Every rank walks the same global batches and computes its slice; the loss is weighted so that N ranks give the gradient
of one. The loop can stop and go on at any optimizer step: all that decides the next one is in the checkpoint.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from components.progress import track
from components.sections import TrainParams
from components.train_model.checkpoint import (
    Progress,
    load_newest,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from components.train_model.data import Batch, TranscriptData
from components.train_model.sampler import epoch_batches, rank_slice
from model.isoformer import IsoFormer, TorchBatch

EVALUATION_BATCH = 256


class Preempted(Exception):  # noqa: N818 - a request, not an error
    """SIGTERM arrived; the state is in the newest checkpoint."""


class Trainer:
    """Trains `model` on `train`, keeps the epoch that is best on `valid`; all files go below `work`."""

    def __init__(
        self,
        model: IsoFormer,
        train: TranscriptData,
        valid: TranscriptData,
        recipe: TrainParams,
        work: Path,
        device: torch.device,
    ) -> None:
        self.rank, self.ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.model, self.train_data, self.valid_data = model.to(device), train, valid
        self.recipe, self.work, self.device = recipe, work, device
        self.network: torch.nn.Module = self.model
        if self.ranks > 1:
            # A rank whose slice has no transcript with some modality leaves that tower without gradient.
            self.network = DistributedDataParallel(self.model, find_unused_parameters=True)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            _decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, recipe.adam_beta2)
        )
        self.ema = {name: p.detach().clone() for name, p in model.named_parameters()} if recipe.ema_decay else {}
        self.labels = {"train": self._standardised(train), "valid": self._standardised(valid)}
        if recipe.shuffle_labels:
            self.labels["train"] = np.random.default_rng(recipe.seed).permutation(self.labels["train"])
        self.progress = Progress()
        self.steps_per_epoch = math.ceil(len(train) / recipe.batch_transcripts)
        self.total_steps = min(recipe.max_steps or math.inf, recipe.max_epochs * self.steps_per_epoch)
        self.stop_requested = False
        self.computed_transcripts = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Train to the end, or to early stopping; resumes from the newest whole checkpoint."""
        self._resume()
        signal.signal(signal.SIGTERM, self._request_stop)
        started = time.monotonic()
        with (
            track(int(self.total_steps), "train", "steps") if self.rank == 0 else nullcontext(lambda n: None) as advance
        ):
            advance(self.progress.step)
            while not self._finished():
                for batch in self._batches_of_epoch():
                    self._step(batch)
                    advance(1)
                    self._checkpoint_if_due()
                    if self.progress.step >= self.total_steps:
                        break
                self._end_epoch()
        self.seconds = time.monotonic() - started

    def _finished(self) -> bool:
        patient = self.progress.epoch - self.progress.best_epoch <= self.recipe.patience_epochs
        return self.progress.step >= self.total_steps or not patient

    def _batches_of_epoch(self) -> Iterator[Batch]:
        """This rank's batches that are still to do, the next one made while the last one is computed."""
        recipe, epoch = self.recipe, self.progress.epoch
        rows = epoch_batches(self.train_data.window_key, recipe.batch_transcripts, seed=recipe.seed, epoch=epoch)
        counts = self.train_data.token_counts
        mask = (recipe.token_mask_rate, recipe.seed, epoch) if recipe.token_mask_rate else None

        def make(global_rows: np.ndarray) -> Batch:
            part = rank_slice(global_rows, counts, rank=self.rank, ranks=self.ranks)
            return self.train_data.batch(part, self.labels["train"], mask=mask)

        with ThreadPoolExecutor(1) as pool:
            pending = None
            for global_rows in rows[self.progress.step_in_epoch :]:
                following = pool.submit(make, global_rows)
                if pending is not None:
                    yield pending.result()
                pending = following
            if pending is not None:
                yield pending.result()

    def _step(self, batch: Batch) -> None:
        """One optimizer step on this rank's slice of the global batch."""
        progress = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(progress.step)
        # The seed of dropout follows the step, so that a resumed run draws what an unbroken one would.
        torch.manual_seed(_stream_seed(self.recipe.seed, progress.step, self.rank))
        self.network.train()
        prediction = self.network(TorchBatch.from_packed(batch.inputs, self.device))
        label = torch.from_numpy(batch.labels).to(self.device)
        squared_error = (prediction - label).square().mean(dim=1).sum()
        count = self._sum_over_ranks(float(len(batch.labels)))
        # DDP averages gradients over ranks: times ranks over the global count, that average is the global mean.
        (squared_error * self.ranks / count).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.gradient_clip_norm)
        loss_sum = self._sum_over_ranks(squared_error.item())
        if not math.isfinite(loss_sum) or not torch.isfinite(norm):
            raise FloatingPointError(f"loss or gradient is not finite at optimizer step {progress.step}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_ema()
        progress.step += 1
        progress.step_in_epoch += 1
        progress.epoch_loss_sum += loss_sum
        progress.epoch_transcripts += int(count)
        self.computed_transcripts += int(count)

    def _update_ema(self) -> None:
        if self.ema:
            # Short averages first: the initial weights would otherwise weigh on a short run.
            decay = min(self.recipe.ema_decay, (1 + self.progress.step) / (10 + self.progress.step))
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    self.ema[name].lerp_(parameter, 1 - decay)

    def _learning_rate(self, step: int) -> float:
        """Linear warm-up, then constant, or cosine to a hundredth at the last step."""
        recipe = self.recipe
        if step < recipe.warmup_steps:
            return recipe.learning_rate * (step + 1) / recipe.warmup_steps
        if recipe.schedule == "constant":
            return recipe.learning_rate
        share = (step - recipe.warmup_steps) / max(1, self.total_steps - recipe.warmup_steps)
        return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def _end_epoch(self) -> None:
        """Judge on the validation split, keep the best weights, write a checkpoint."""
        progress = self.progress
        with _swapped(self.model, self.ema):
            predicted = self.predict(self.valid_data, self.labels["valid"])
            error = ((predicted - self.labels["valid"]) ** 2).mean(axis=0)
            spread = self.labels["valid"].var(axis=0)
            r2 = float(np.mean(1 - error / np.where(spread > 0, spread, 1)))
            mse = float(error.mean())
            metric = -r2 if self.recipe.early_stopping_metric == "r2" else mse
            progress.history.append(
                {
                    "epoch": progress.epoch,
                    "step": progress.step,
                    "learning_rate": self._learning_rate(progress.step),
                    "train_mse": progress.epoch_loss_sum / max(1, progress.epoch_transcripts),
                    "valid_mse": mse,
                    "valid_r2": r2,
                }
            )
            if progress.best_metric is None or metric < progress.best_metric:
                progress.best_metric, progress.best_epoch = metric, progress.epoch
                if self.rank == 0:
                    save_checkpoint(
                        self.work / "best", Progress(step=progress.step), {"model": self.model.state_dict()}
                    )
        if self.rank == 0:
            print(
                f"epoch {progress.epoch}: train MSE {progress.history[-1]['train_mse']:.4f}, "
                f"validation MSE {mse:.4f}, R² {r2:.4f}",
                flush=True,
            )
        progress.epoch += 1
        progress.step_in_epoch = progress.epoch_transcripts = 0
        progress.epoch_loss_sum = 0.0
        self._checkpoint()

    @torch.no_grad()
    def predict(self, data: TranscriptData, labels: np.ndarray) -> np.ndarray:
        """Standardised predictions (N, tissues) of all transcripts; each rank computes all, so all agree."""
        self.model.eval()
        order = np.argsort(data.token_counts, kind="stable")
        result = np.empty_like(labels)
        for start in range(0, len(order), EVALUATION_BATCH):
            rows = order[start : start + EVALUATION_BATCH]
            batch = data.batch(rows, labels)
            result[rows] = self.model(TorchBatch.from_packed(batch.inputs, self.device)).float().cpu().numpy()
        return result

    def _standardised(self, data: TranscriptData) -> np.ndarray:
        config = self.model.config
        mean, std = (np.array(scale, dtype=np.float32) for scale in (config.output_mean, config.output_std))
        return np.asarray((data.labels - mean) / std, dtype=np.float32)

    def _sum_over_ranks(self, value: float) -> float:
        if self.ranks == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(total)
        return float(total.item())

    def _request_stop(self, *_: Any) -> None:
        self.stop_requested = True

    def _checkpoint_if_due(self) -> None:
        stop = self._sum_over_ranks(float(self.stop_requested)) > 0
        if stop or self.progress.step % self.recipe.checkpoint_every_steps == 0:
            self._checkpoint()
        if stop:
            raise Preempted(f"stopped at optimizer step {self.progress.step}, checkpoint written")

    def _checkpoint(self) -> None:
        if self.rank == 0:
            tensors = {"model": self.model.state_dict(), "optimizer": optimizer_tensors(self.optimizer)}
            save_checkpoint(
                self.work / "checkpoints", self.progress, {**tensors, **({"ema": self.ema} if self.ema else {})}
            )
        if self.ranks > 1:
            dist.barrier()

    def _resume(self) -> None:
        found = load_newest(self.work / "checkpoints")
        if found is None:
            return
        self.progress, tensors = found
        self.model.load_state_dict(tensors["model"])
        restore_optimizer(self.optimizer, tensors["optimizer"])
        for name, value in tensors.get("ema", {}).items():
            self.ema[name].copy_(value)
        if self.rank == 0:
            print(f"resuming at optimizer step {self.progress.step}, epoch {self.progress.epoch}", flush=True)


def _stream_seed(*numbers: int) -> int:
    """A seed of its own for each (recipe seed, optimizer step, rank)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class _swapped:  # noqa: N801 - reads as a statement
    """Within the block the model has the averaged weights; outside, its own."""

    def __init__(self, model: IsoFormer, averaged: dict[str, torch.Tensor]) -> None:
        self.model, self.averaged = model, averaged

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in self.averaged:
                    own = parameter.detach().clone()
                    parameter.copy_(self.averaged[name])
                    self.averaged[name].copy_(own)


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and other vectors do not."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
