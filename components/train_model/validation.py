"""How good the model is on the validation split, computed by all ranks together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from components.train_model.data import TranscriptData
from components.train_model.loader import Loader, MicroBatch
from components.train_model.parallel import Parallel
from components.train_model.sampler import plan_step
from components.train_model.trouble import memory_watched, no_scores
from components.train_sections import BudgetParams

EVALUATION_BATCH = 256


class StoppedWhileValidating(Exception):  # noqa: N818 - a request, not an error
    """A stop was requested on some rank."""


@dataclass(frozen=True, kw_only=False)
class Validation:
    """The validation split, ready to be predicted."""

    loader: Loader
    budget: BudgetParams
    parallel: Parallel

    def scores(
        self,
        predict: Callable[[MicroBatch], torch.Tensor],
        stop: Callable[[], bool] = lambda: False,
        where: str = "validation",
    ) -> dict[str, float]:
        """MSE of standardised labels, and R² averaged over tissues; `predict` gives (B, tissues).

        Raises `InputError`, on every rank, where they are not finite.
        """
        labels, predicted = self.loader.labels, self.predict(predict, stop)
        seen = ~np.isnan(labels).all(axis=0)
        labels, predicted = labels[:, seen], predicted[:, seen]
        with np.errstate(over="ignore", invalid="ignore"):  # told below
            squared = (predicted - labels) ** 2
        missing = bool(np.isnan(labels).any())
        error = np.nanmean(squared, axis=0) if missing else squared.mean(axis=0)
        spread = np.nanvar(labels, axis=0) if missing else labels.var(axis=0)
        r2 = float(np.mean(1 - error / np.where(spread > 0, spread, 1)))
        mse = float(error.mean())
        if not (math.isfinite(mse) and math.isfinite(r2)):
            raise no_scores(where, predicted, labels, self.loader.data.transcript_ids)
        return {"mse": mse, "r2": r2}

    @torch.no_grad()
    def predict(self, predict: Callable[[MicroBatch], torch.Tensor], stop: Callable[[], bool]) -> np.ndarray:
        """Standardised predictions (N, tissues), the same on every rank; raises when some rank is to stop."""
        self.parallel.model.eval()
        sizes, result = self.loader.data.sizes, np.zeros_like(self.loader.labels)
        order = np.argsort(sizes.tokens, kind="stable")
        chunks = [order[start : start + EVALUATION_BATCH] for start in range(0, len(order), EVALUATION_BATCH)]
        parts = [part for rows in chunks for part in plan_step(rows, sizes, self.budget)[0]]
        parts += [order[:0]] * (-len(parts) % self.parallel.ranks)
        own = [[rows] for rows in parts[self.parallel.rank :: self.parallel.ranks]]
        with memory_watched(self.budget, self.loader.device) as computed:
            for (micro,) in self.loader.steps(own):
                computed[:] = [micro]
                result[micro.rows] = predict(micro).float().cpu().numpy()
                if self.parallel.sum_number(float(stop())):
                    raise StoppedWhileValidating
        # Each row is computed by one rank, and is zero on the others.
        return np.asarray(self.parallel.sum(torch.from_numpy(result)).cpu().numpy())


def standardised(data: TranscriptData, tissues: Sequence[str] = ()) -> np.ndarray:
    """Labels on the model's scale: mean 0 and deviation 1 over the training split, float32 (N, tissues).

    NaN, which no loss counts, in tissues that are not among `tissues`, where any is named.
    """
    config = data.config
    mean, std = (np.array(scale, dtype=np.float32) for scale in (config.output_mean, config.output_std))
    labels = np.asarray((data.labels - mean) / std, dtype=np.float32)
    if tissues:
        labels[:, [name not in tissues for name in config.tissues]] = np.nan
    return labels
