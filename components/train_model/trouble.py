"""What stops a training that cannot go on, said so that a person can mend it: bad numbers, too little memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.artifacts import write_json
from components.train_model.loader import MicroBatch
from components.train_model.parallel import Parallel
from components.train_sections import BudgetParams
from model.errors import InputError

OFFENDING = "offending-batch.json"
# Of the memory that a budget is lowered to use: fragmentation and other lengths take the rest.
HEADROOM = 0.85
_OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


def diverged(
    work: Path, step: int, rows: np.ndarray, own: Mapping[int, float], transcript_ids: list[str], parallel: Parallel
) -> InputError:
    """Keep the ids and losses of the global batch `rows` in a file, and say what went wrong.

    `own`: squared error of the rows that this rank computed. All ranks must call.
    """
    losses = parallel.sum(torch.tensor([own.get(row, 0.0) for row in rows.tolist()], dtype=torch.float64)).tolist()
    worst = sorted(zip(rows.tolist(), losses, strict=True), key=lambda item: (np.isfinite(item[1]), -item[1]))
    path = work / OFFENDING
    if parallel.rank == 0:
        entries = [
            {"transcript_id": transcript_ids[row], "squared_error": loss if np.isfinite(loss) else str(loss)}
            for row, loss in worst
        ]
        write_json(path, {"optimizer_step": step, "transcripts": entries})
    bad = sum(not np.isfinite(loss) for _, loss in worst)
    shown = ", ".join(f"{transcript_ids[row]} ({loss:.3g})" for row, loss in worst[:3])
    return InputError(
        where=f"optimizer step {step}",
        expected="a finite loss and gradient, the loss below train.max_loss",
        found=f"{bad} of {len(rows)} transcripts with a loss that is not finite; the worst: {shown}",
        fix=f"Look at the transcripts in {path}; lower train.learning_rate, add warm-up, or train in float32.",
    )


def no_scores(where: str, predicted_BT: np.ndarray, labels_BT: np.ndarray, transcript_ids: Sequence[str]) -> InputError:
    """Validation gave no number: which transcripts' predictions are not finite, or are too large to be squared."""
    seen_BT = np.where(np.isnan(labels_BT), 0, predicted_BT - labels_BT).astype(np.float64)
    error_B = np.square(seen_BT).mean(axis=1)
    worst = sorted(range(len(error_B)), key=lambda row: (np.isfinite(error_B[row]), -error_B[row]))[:3]
    bad = int((~np.isfinite(predicted_BT)).any(axis=1).sum())
    shown = ", ".join(f"{transcript_ids[row]} (squared error {error_B[row]:.3g})" for row in worst)
    return InputError(
        where=where,
        expected="finite predictions, and a mean squared error that is a number",
        found=f"{bad} of {len(error_B)} validation transcripts whose prediction is not finite; the worst: {shown}",
        fix="Look at these transcripts; lower train.learning_rate, add warm-up, or train in float32.",
    )


@contextmanager
def memory_watched(budget: BudgetParams, device: torch.device) -> Iterator[list[MicroBatch]]:
    """Turn lack of memory into an `InputError` that names the budget to lower; append what is being computed."""
    computed: list[MicroBatch] = []
    try:
        yield computed
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        contents = _contents(computed[-1]) if computed else {}
        wanted, available = _memory(device)
        reason = str(error).strip().splitlines()[0]
        raise memory_advice(contents, budget, reason, available / wanted if wanted else None) from None


def memory_advice(
    contents: Mapping[str, int], budget: BudgetParams, reason: str, affordable: float | None
) -> InputError:
    """Which budget to lower and to what, after a micro-batch of `contents` did not fit.

    `affordable`: share of the wanted memory that there is, None if unknown: then half.
    """
    share = HEADROOM * affordable if affordable is not None and affordable < 1 else 0.5
    lowered = {name: max(1, int(count * share)) for name, count in contents.items() if count > 1}
    # The windows weigh most wherever there are several: 196,608 bases each, against thousands of tokens.
    order = ("dna_windows", "rna_tokens", "protein_tokens", "transcripts")
    first = next((name for name in order if name in lowered), None)
    if first is None:
        fix = "One transcript does not fit: set runtime.recompute_activations, or train fewer parameters."
    else:
        settings = [
            f"train.budget.{name}={lowered[name]} (now {_now(budget, name)})" for name in order if name in lowered
        ]
        fix = f"Lower {settings[0]}; if that is not enough, also " + ", ".join(settings[1:]) + "."
        fix = fix if len(settings) > 1 else f"Lower {settings[0]}."
    held = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in contents.items())
    return InputError(
        where="memory",
        expected=f"room for a micro-batch of {held or 'the model'}",
        found=reason,
        fix=fix + " runtime.recompute_activations also saves memory.",
    )


def _now(budget: BudgetParams, name: str) -> str:
    value = getattr(budget, name)
    return "unbounded" if value is None else f"{value:,}"


def _contents(micro: MicroBatch) -> dict[str, int]:
    return {
        "transcripts": micro.counts.transcripts,
        "dna_windows": micro.counts.windows,
        "rna_tokens": len(micro.inputs.rna.layout.row),
        "protein_tokens": len(micro.inputs.protein.layout.row),
    }


def _memory(device: torch.device) -> tuple[float, float]:
    """Bytes that were wanted at least, and bytes that there are; zeros where nobody knows."""
    if device.type != "cuda":
        return 0.0, 0.0
    free, total = torch.cuda.mem_get_info(device)
    peak: Any = torch.cuda.max_memory_allocated(device)
    # What failed came on top of the peak; at least a tenth of it, or it would have fitted.
    return 1.1 * float(peak), float(min(total, free + torch.cuda.memory_reserved(device)))
