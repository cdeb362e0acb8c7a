"""Predicting the transcripts of an extraction, whole or one shard of it, as a step between artifacts.

Shards are contiguous rows of transcripts.parquet, so that N machines predict a dataset between them, and `merge` gives
what one would have given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from components.artifacts import AlreadyComplete, open_artifact, write_artifact, write_json
from components.batch_predict.packaged import PackagedModel
from components.batch_predict.parts import join_parts, write_part
from components.batch_predict.predict import NAMES, PART_TRANSCRIPTS, predicted_table
from components.progress import track
from components.sequences import Genome
from components.work_folders import work_folder
from model.errors import InputError

KIND = "predictions"
TABLE = "predictions.parquet"
_COLUMNS = [*NAMES, "window_start", "window_end", "rna", "protein"]


def predict_dataset(
    model: PackagedModel,
    inputs: Mapping[str, Path],
    out: Path,
    work: Path,
    *,
    shard: int = 0,
    shards: int = 1,
) -> int:
    """Write the predictions artifact of shard `shard` (from 0) of `shards` at `out`; returns its transcripts.

    `inputs`: {"transcripts": an extraction}, and "bento" where the model came from an artifact; the manifest names both
    by digest. The payload is predictions.parquet, as `predict_annotation` writes it, and predictions.json. Parts
    are kept below `work`: a run that was killed goes on. A complete `out` is left as it is. Raises `InputError`.
    """
    if not 0 <= shard < shards:
        raise InputError(
            where="shard", expected=f"a number from 0 to {shards - 1}", found=str(shard), fix="Count shards from 0."
        )
    transcripts = open_artifact(inputs["transcripts"], "transcripts")
    dataset = json.loads((transcripts.payload / "dataset.json").read_text(encoding="utf-8"))
    if dataset["window_bp"] != model.config.window_bp:
        raise InputError(
            where=str(inputs["transcripts"]),
            expected=f"DNA windows of {model.config.window_bp} bp, which the model reads",
            found=f"{dataset['window_bp']} bp",
            fix="Extract with extract.window_bp of the model.",
        )
    config = {"version": model.about["version"], "shard": shard, "shards": shards, "part": PART_TRANSCRIPTS}
    with suppress(AlreadyComplete), write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        folder = work_folder(work, "predict_dataset", inputs, config)
        parts = _predict_parts(model, transcripts.payload, folder, shard, shards)
        join_parts(parts, writer.payload / TABLE)
        facts = {name: model.about[name] for name in ("version", "model_digest", "dataset_version", "simulated")}
        described = {"schema_version": 1, "model": facts, "dataset_version": dataset["dataset_version"]}
        write_json(writer.payload / "predictions.json", {**described, "shard": shard, "shards": shards})
    return _rows(out)


def merge(shards: Sequence[Path], out: Path) -> int:
    """Write one predictions artifact at `out` of all shards, given in any order; returns its transcripts.

    Raises `InputError` where one is missing, twice, or of another model or dataset.
    """
    opened = [open_artifact(path, KIND) for path in shards]
    told = [json.loads((one.payload / "predictions.json").read_text(encoding="utf-8")) for one in opened]
    common = [{name: value for name, value in record.items() if name != "shard"} for record in told]
    if sorted(record["shard"] for record in told) != list(range(told[0]["shards"] if told else 1)) or any(
        record != common[0] for record in common
    ):
        raise InputError(
            where="the shards",
            expected="each shard of one model and dataset once",
            found=", ".join(f"{record['shard']} of {record['shards']}" for record in told) or "none",
            fix="Predict the missing shards, of the same version and transcripts.",
        )
    ordered = [one for _, one in sorted(zip(told, opened, strict=True), key=lambda pair: pair[0]["shard"])]
    inputs = {f"shard-{place:04d}": one.path for place, one in enumerate(ordered)}
    with suppress(AlreadyComplete), write_artifact(out, kind=KIND, inputs=inputs, config={"merge": True}) as writer:
        join_parts([one.payload / TABLE for one in ordered], writer.payload / TABLE)
        write_json(writer.payload / "predictions.json", {**common[0], "shard": 0, "shards": 1})
    return _rows(out)


def _predict_parts(model: PackagedModel, payload: Path, folder: Path, shard: int, shards: int) -> list[Path]:
    """The part files of a shard, those of an earlier try as they are."""
    import pyarrow.parquet as pq

    total = pq.read_metadata(payload / "transcripts.parquet").num_rows
    first, end = total * shard // shards, total * (shard + 1) // shards
    genome = Genome.open(payload / "genome.safetensors")
    parts = []
    with track(end - first, "predict", "transcripts") as advance:
        for number, rows in enumerate(_rows_of(payload, first, end)):
            file = folder / f"part-{number:08d}.parquet"
            if not file.exists():
                write_part(file, predicted_table(model, genome, rows))
            parts.append(file)
            advance(len(rows))
    return parts


def _rows_of(payload: Path, first: int, end: int) -> Iterator[list[Any]]:
    """Rows `first` to `end` in lists of `PART_TRANSCRIPTS`; at least one list, so that an empty shard has a schema."""
    import pyarrow.parquet as pq

    table = pq.read_table(payload / "transcripts.parquet", columns=_COLUMNS).slice(first, end - first)
    for start in range(0, max(1, len(table)), PART_TRANSCRIPTS):
        yield [SimpleNamespace(**row) for row in table.slice(start, PART_TRANSCRIPTS).to_pylist()]


def _rows(out: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(out / "payload" / TABLE).num_rows)
