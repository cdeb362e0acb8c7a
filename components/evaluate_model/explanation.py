"""An explanation of one transcript as files: a table of every mutation's effect, and a page with a plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.artifacts import open_artifact, staged
from components.evaluate_model.examples import Examples
from components.evaluate_model.explain import Effects, mutate
from components.evaluate_model.gates import MODALITY_NAMES
from components.evaluate_model.prediction import transcript_input
from components.html_page import BLUE, GREY, RED, embedded, facts, new_figure, page, plain_axes, section, table
from model.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from model.batch import TranscriptInput

SPLITS = ("test", "valid", "train")
TOP_MUTATIONS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
    """One transcript's effects. `cds`: its coding part in the RNA, (−1, −1) where it has none."""

    transcript_id: str
    gene_id: str
    split: str
    item: TranscriptInput
    cds: tuple[int, int]
    observed: np.ndarray
    effects: Effects
    tissues: tuple[str, ...]
    shown: tuple[int, ...]
    simulated: bool

    @property
    def modalities(self) -> list[str]:
        """Those that were mutated."""
        return list(dict.fromkeys(mutation.modality for mutation in self.effects.mutations))


def explain_transcript(
    model: Path,
    transcripts: Path,
    transcript_id: str,
    *,
    modalities: Sequence[str],
    tissue: str | None,
    dna_bp: int | None,
    threads: int,
) -> Explained:
    """Mutate a transcript of a dataset, named with or without its version; an unknown name raises `InputError`.

    `tissue`: whose effects the plot shows; None = their mean over tissues.
    """
    import json

    import torch

    from model.predictor import Predictor
    from model.torch_backend import TorchBackend
    from model.weights import load_model

    data = open_artifact(transcripts, "transcripts")
    facts_of = json.loads((data.payload / "dataset.json").read_text(encoding="utf-8"))
    tissues = tuple(facts_of["tissues"])
    if tissue is not None and tissue not in tissues:
        raise InputError(
            where="--tissue", expected=f"one of {', '.join(tissues)}", found=repr(tissue), fix="Correct the name."
        )
    split, examples, row = _find(data.payload, transcript_id)
    network = load_model(open_artifact(model, "model").payload)
    if threads:
        torch.set_num_threads(threads)
    predictor = Predictor(TorchBackend(network), network.config)
    item = transcript_input(examples, row, network.config.modalities, window_bp=network.config.window_bp)
    return Explained(
        transcript_id=examples.transcript_ids[row],
        gene_id=examples.gene_ids[row],
        split=split,
        item=item,
        cds=(int(examples.cds_start[row]), int(examples.cds_end[row])),
        observed=examples.labels[row],
        effects=mutate(predictor, item, modalities=modalities, dna_bp=dna_bp),
        tissues=tissues,
        shown=tuple(range(len(tissues))) if tissue is None else (tissues.index(tissue),),
        simulated=bool(facts_of["simulated"]),
    )


def _find(payload: Path, transcript_id: str) -> tuple[str, Examples, int]:
    for split in SPLITS:
        examples = Examples.read(payload, split)
        for row, name in enumerate(examples.transcript_ids):
            if transcript_id in (name, name.partition(".")[0]):
                return split, examples, row
    raise InputError(
        where="--transcript",
        expected="a transcript of this dataset",
        found=repr(transcript_id),
        fix="Names stand in payload/transcripts.parquet; those without expression are not part of a dataset.",
    )


def write_explanation(explained: Explained, out: Path) -> None:
    """Write effects.tsv and explanation.html at `out`, which must be absent or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            where=str(out), expected="an empty or absent folder", found="other files", fix="Choose another --out."
        )
    with staged(out) as folder:
        _write_table(explained, folder / "effects.tsv")
        (folder / "explanation.html").write_text(_page(explained), encoding="utf-8")


def _write_table(explained: Explained, path: Path) -> None:
    """One row per mutation: modality, 1-based position, letters, mean effect, and the effect in each tissue."""
    with path.open("w", encoding="utf-8") as handle:
        heading = ("modality", "position", "reference", "alternative", "mean", *explained.tissues)
        handle.write("\t".join(heading) + "\n")
        for mutation, delta in zip(explained.effects.mutations, explained.effects.delta.tolist(), strict=True):
            place = (mutation.modality, str(mutation.position + 1), mutation.reference, mutation.alternative)
            values = (f"{value:.6f}" for value in (sum(delta) / len(delta), *delta))
            handle.write("\t".join((*place, *values)) + "\n")


def effect_figure(explained: Explained) -> Figure:
    """The strongest effect at each position, one panel per modality; TSS and CDS marked."""
    names = explained.modalities
    figure = new_figure(9.6, 0.6 + 1.9 * len(names))
    panels = np.atleast_1d(figure.subplots(len(names), 1))
    for axes, name in zip(panels, names, strict=True):
        sequence = getattr(explained.item, name)
        effect = explained.effects.strongest(name, len(sequence), explained.shown)
        origin = len(sequence) // 2 if name == "dna" else -1
        axes.bar(
            np.arange(len(effect)) - origin,
            effect,
            width=1.0,
            color=[BLUE if value >= 0 else RED for value in effect],
            linewidth=0,
            rasterized=True,
        )
        axes.axhline(0, color="#b8c0ca", linewidth=0.8)
        if name == "dna":
            axes.axvline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        if name == "rna" and explained.cds[0] >= 0:
            axes.axvspan(explained.cds[0] + 1, explained.cds[1], color="#e8edf3", zorder=0)
        unit = {"dna": "bp from the TSS", "rna": "nt of the RNA (CDS shaded)", "protein": "residue"}[name]
        axes.set(title=MODALITY_NAMES[name], xlabel=unit, ylabel="Δ log1p TPM")
        axes.grid(axis="y", alpha=0.35)
        plain_axes(axes)
    return figure


def _page(explained: Explained) -> str:
    effects = explained.effects
    shown = effects.delta[:, list(explained.shown)].mean(axis=1)
    where = explained.tissues[explained.shown[0]] if len(explained.shown) == 1 else "mean over tissues"
    predicted = float(effects.predicted[list(explained.shown)].mean())
    observed = float(explained.observed[list(explained.shown)].mean())
    order = np.argsort(-np.abs(shown), kind="stable")[:TOP_MUTATIONS]
    rows = []
    for index in order.tolist():
        mutation = effects.mutations[index]
        change = f"{mutation.reference}{mutation.position + 1}{mutation.alternative}"
        delta = f"{shown[index]:+.3f}".replace("-", "−")
        rows.append(("", [MODALITY_NAMES[mutation.modality], f"<code>{escape(change)}</code>", delta]))
    banner = '<div class="banner"><b>SIMULATED</b> — the model was trained on simulated data.</div>'
    body = [
        f"<h1>What the prediction of {escape(explained.transcript_id)} hangs on</h1>",
        f'<p class="lead">In-silico mutagenesis, {escape(where)}; gene {escape(explained.gene_id)}, '
        f"{escape(explained.split)} split.</p>",
        *([banner] if explained.simulated else []),
        section(
            "Effects by position",
            facts(
                [
                    (f"{predicted:.3f}", "predicted log1p TPM"),
                    (f"{observed:.3f}", "observed log1p TPM"),
                    (f"{len(effects.mutations):,}", "single mutations"),
                ]
            ),
            embedded(effect_figure(explained), "Change of the prediction by the strongest substitution at each place."),
            '<p class="note">Each letter is replaced alone, in one of the sequences: bases by the three others, residues'
            " by alanine (alanine by glycine). Effects tell what the model reads, not what the cell does.</p>",
        ),
        section("Strongest mutations", table(["Sequence", "Change (1-based)", "Δ log1p TPM"], rows, text_columns=2)),
    ]
    return page(f"Explanation of {explained.transcript_id}", body)
