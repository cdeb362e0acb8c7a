"""The DNA tower and head alone, trained on the same data by the same recipe: the paper's "Enformer alone"."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from components.artifacts import AlreadyComplete, Artifact
from components.params import Params
from components.train_model.step import run as train_model
from model.errors import InputError


def train_dna_alone(model: Artifact, transcripts: Path, params: Params, work: Path) -> Path:
    """Train it below `work` and return the model artifact; one that is there already is taken.

    The recipe is the one that `model` records of its own training; `params` says only where and how fast to run.
    """
    try:
        recipe = json.loads((model.payload / "params.json").read_text(encoding="utf-8"))
        modalities = recipe["model"]["modalities"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            where=str(model.path),
            expected="a model that records the recipe it was trained by",
            found=f"none ({error!r})",
            fix="Train it with `isoformer train-model`, or set evaluate.dna_alone to false.",
        ) from None
    if "dna" not in modalities:
        raise InputError(
            where="evaluate.dna_alone",
            expected="a model that reads DNA",
            found=f"one of {', '.join(modalities)}",
            fix="Set evaluate.dna_alone to false.",
        )
    tree = params.model_dump(mode="json")
    tree.update(recipe)
    tree["model"] = {**recipe["model"], "modalities": ["dna"]}
    # Of a whole network its DNA tower; weights of towers that are not there would be refused.
    weights = params.data.weights
    own = {"dna": weights.dna or weights.isoformer, "rna": None, "protein": None, "isoformer": None, "new_head": False}
    tree["data"]["weights"] |= own
    out = work / "dna_alone" / model.digest[:16]
    with contextlib.suppress(AlreadyComplete):
        train_model({"transcripts": transcripts}, Params.from_json(json.dumps(tree)), out, work)
    return out
