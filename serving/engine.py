"""The packaged model at work: loaded, checked against its own record and golden answers, asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from components.artifacts import sha256_file
from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from model.errors import InputError
from model.predictor import Predictor, window_tokens
from serving.backends import ONNX, open_backend
from serving.intervals import Intervals
from serving.normalize import normalize
from serving.profile import Profile, features_of
from serving.schema import Item, Note
from serving.settings import Settings
from serving.signature import verify_signature
from serving.tracing import span
from serving.warm_up import ALONE, measure_budget, measure_safe_budget

Part = TypeVar("Part")

GOLDEN_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Prepared:
    """One transcript ready to be predicted: input, cost in tokens, modalities read, changes made, its features."""

    transcript: TranscriptInput
    tokens: int
    modalities: tuple[str, ...]
    notes: tuple[Note, ...]
    features: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Predicted:
    """The answer to one transcript: log1p TPM float32 (tissues,), and what the model cropped or replaced."""

    log1p_tpm: np.ndarray
    notes: tuple[Note, ...]


class Engine:
    """Predictor, provenance and self-test of one packaged model.

    `package` holds about.json, files.json, golden.json, config.json, model.onnx with its DNA tower, and where the
    evaluation gave them intervals.json and profile.json; `files.json` lists the sha256 of every file of the Bento's
    source folder. Nothing that differs from it is loaded: `InputError` names the file.
    """

    def __init__(self, settings: Settings) -> None:
        self.package = Path(settings.package)
        self.settings = settings
        if settings.public_key:
            verify_signature(self.package, settings.signature, settings.public_key)
        verify_files(self.package)
        self.about: dict[str, Any] = _read(self.package / "about.json")
        self.config = IsoFormerConfig.from_dict(_read(self.package / "config.json"))
        self._backend, self._memory = open_backend(self.package, self.config, settings)
        self.intervals = self._optional("intervals.json", lambda record: Intervals(record, self.config.tissues))
        self.profile = self._optional("profile.json", Profile)
        # Until `warm_up` measures it, every transcript runs alone: right on any machine.
        # Of int8 weights always: activations are quantised by batch, and an answer would depend on its neighbours.
        first = ALONE if self._is_int8 else settings.budget_tokens or ALONE
        self._predictor = Predictor(self._backend, self.config, budget_tokens=first)
        self.safe_budget_tokens = ALONE

    @property
    def _is_int8(self) -> bool:
        # PyTorch computes with the weights that were trained.
        return self.settings.backend == ONNX and self.about.get("weights") == "int8"

    @property
    def budget_tokens(self) -> int:
        """Tokens of one batch."""
        return self._predictor.budget_tokens

    @property
    def budget_to_hand_on(self) -> int:
        """The budget that the next model may take in place of measuring; 0 where this one says nothing about it."""
        return 0 if self._is_int8 else self.budget_tokens

    @property
    def cache_bytes(self) -> int:
        """Bytes of window states that are kept."""
        return self._backend.cache.bytes

    def cache_counts(self) -> tuple[int, int]:
        """Windows found in the cache and encoded anew, so far."""
        return self._backend.cache.hits, self._backend.cache.misses

    def warm_up(self, budget_tokens: int = 0) -> None:
        """Measure the largest safe token budget and choose the fastest below it.

        `budget_tokens` of a server that runs already, or of an operator, is taken instead of measuring under load.
        """
        self.safe_budget_tokens = measure_safe_budget(self._run, self.config, self.settings.deadline_s, self._memory)
        if self._is_int8:
            self._predictor.budget_tokens = ALONE
        elif self.settings.budget_tokens:
            self._predictor.budget_tokens = self.settings.budget_tokens
        elif budget_tokens:
            self._predictor.budget_tokens = min(budget_tokens, self.safe_budget_tokens)
        else:
            chosen = measure_budget(self._run, self.config, self.profile, self.safe_budget_tokens)
            self._predictor.budget_tokens = chosen
        self._backend.cache.clear()

    def _run(self, transcripts: Sequence[TranscriptInput], budget_tokens: int) -> None:
        # Every run encodes its windows: what is measured must not depend on what was measured before.
        self._backend.cache.clear()
        Predictor(self._backend, self.config, budget_tokens).predict(transcripts)

    def prepare(self, item: Item, index: int) -> Prepared:
        """Normalise an item given by sequences; raises `serving.normalize.BadItemError`."""
        transcript, notes = normalize(
            item, index, window_bp=self.config.window_bp, max_residues=self.settings.max_residues
        )
        return self.price(transcript, notes)

    def price(self, transcript: TranscriptInput, notes: Sequence[Note]) -> Prepared:
        """Cost and modalities of a transcript; a modality that the model does not read is noted as ignored."""
        given = [name for name in ("dna", "rna", "protein") if getattr(transcript, name) is not None]
        ignored = [
            Note(field=name, code="ignored", message="the model does not read this modality")
            for name in given
            if name not in self.config.modalities
        ]
        used = tuple(name for name in given if name in self.config.modalities)
        read = TranscriptInput(**{name: getattr(transcript, name) for name in used})
        return Prepared(read, self._tokens(read), used, (*notes, *ignored), features_of(read))

    def predict(self, transcripts: Sequence[TranscriptInput]) -> list[Predicted]:
        """Answers in the order of the transcripts."""
        with span("predict", {"transcripts": len(transcripts)}):
            predictions = self._predictor.predict(transcripts)
        return [
            Predicted(row, tuple(Note(field=note.field, code=note.code, message=note.message) for note in notes))
            for row, notes in zip(predictions.log1p_tpm, predictions.notes, strict=True)
        ]

    def signs(self, prepared: Prepared) -> list[Note]:
        """In what a transcript is unlike those of the training split."""
        return self.profile.signs(prepared.features, prepared.modalities) if self.profile else []

    def _optional(self, name: str, read: Callable[[Any], Part]) -> Part | None:
        """What an optional file of the package holds; every file that is there is verified."""
        file = self.package / name
        return read(_read(file)) if file.is_file() else None

    def self_test(self) -> None:
        """Reproduce the golden answers to `GOLDEN_TOLERANCE` (int8: theirs), else `InputError` with the difference."""
        golden = _read(self.package / "golden.json")
        # The limits of clients are not those of the package's own questions.
        limits = {"window_bp": self.config.window_bp, "max_residues": sys.maxsize}
        items = [Item(**entry["item"]) for entry in golden["entries"]]
        transcripts = [normalize(item, index, **limits)[0] for index, item in enumerate(items)]
        expected = np.array([entry["log1p_tpm"] for entry in golden["entries"]], dtype=np.float32)
        found = np.stack([answer.log1p_tpm for answer in self.predict(transcripts)])
        # Of float32 weights `GOLDEN_TOLERANCE`; of int8 weights what the packager allowed them.
        tolerance = float(golden["tolerance"]) if self._is_int8 else GOLDEN_TOLERANCE
        difference = np.abs(found - expected).max(axis=1) if found.shape == expected.shape else np.array([np.inf])
        worst = int(difference.argmax())
        # Written so that NaN fails too.
        if not float(difference[worst]) <= tolerance:
            raise InputError(
                where=f"golden item {worst}",
                expected=f"the packaged answer to {tolerance:g}",
                found=f"a difference of {difference[worst]:.3g} log1p TPM",
                fix="Package the model again on this platform.",
            )

    def _tokens(self, transcript: TranscriptInput) -> int:
        """Cost of a transcript in tokens over its modalities, as the encoders will see them."""
        tokens = 0
        if transcript.dna is not None and self.config.dna is not None:
            tokens += window_tokens(self.config)
        if transcript.rna and self.config.rna is not None:
            tokens += min(len(transcript.rna) // 6 + 6, self.config.rna.max_tokens)
        if transcript.protein and self.config.protein is not None:
            tokens += min(len(transcript.protein) + 2, self.config.protein.max_tokens)
        return max(tokens, 1)


def verify_files(package: Path) -> None:
    """Check every file of the Bento's source folder against package/files.json; `InputError` names the first wrong one.

    Byte code caches and the build file that BentoML writes are not listed and not looked at.
    """
    listed: dict[str, str] = _read(package / "files.json")["files"]
    source = package.parent
    for name, digest in sorted(listed.items()):
        file = source / name
        inside = file.resolve().is_relative_to(source.resolve())
        if not inside or not file.is_file() or sha256_file(file) != digest:
            raise InputError(
                where=name,
                expected="the file as it was packaged",
                found="other bytes" if inside and file.is_file() else "no such file",
                fix="The package is damaged: fetch it from the registry again.",
            )
    unlisted = sorted(
        file.name for file in package.iterdir() if file.name != "files.json" and f"package/{file.name}" not in listed
    )
    if unlisted:
        raise InputError(
            where=f"package/{unlisted[0]}",
            expected="only files that files.json lists",
            found="another file",
            fix="The package is damaged: fetch it from the registry again.",
        )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            where=str(file), expected="a JSON file", found=type(error).__name__, fix="Package the model again."
        ) from None
