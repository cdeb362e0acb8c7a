"""The peer of benchmarks.serving_load: the same exported model behind BentoML's own adaptive batcher."""

from __future__ import annotations

import json
import os
from pathlib import Path

import bentoml

from model.batch import TranscriptInput, collate
from model.config import IsoFormerConfig
from model.onnx_backend import OnnxBackend
from model.tokenizers import dna_codes

MAX_BATCH_ENV = "PEER_MAX_BATCH"
_BATCH = int(os.environ.get(MAX_BATCH_ENV, "16"))


@bentoml.service(name="peer", workers=1, traffic={"timeout": 60, "max_concurrency": 100_000})
class Peer:
    """One batchable method, as BentoML's documentation shows it."""

    def __init__(self) -> None:
        package = Path(os.environ["PEER_PACKAGE"])
        self.config = IsoFormerConfig.from_dict(json.loads((package / "config.json").read_text()))
        self.backend = OnnxBackend(package / "model.onnx", self.config, threads=1)

    # BentoML's batcher takes no size of 1: not to merge is to do without it.
    @bentoml.api(
        batchable=_BATCH > 1,
        max_batch_size=max(_BATCH, 2),
        max_latency_ms=int(os.environ.get("PEER_MAX_LATENCY_MS", "60000")),
    )
    def predict(self, items: list[dict[str, str]]) -> list[list[float]]:
        """log1p TPM of each item."""
        inputs = [
            TranscriptInput(
                dna=dna_codes(item["dna"]) if "dna" in item else None, rna=item.get("rna"), protein=item.get("protein")
            )
            for item in items
        ]
        return [[float(value) for value in row] for row in self.backend.run(collate(inputs, self.config))]
