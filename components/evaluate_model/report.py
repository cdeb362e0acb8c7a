"""The report of an evaluation: one self-contained HTML page for people, verdict first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from components.evaluate_model.attention import AttentionTable
from components.evaluate_model.baselines import HONEST, ORACLES
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.evaluation import Evaluation
from components.evaluate_model.figures import (
    comparison_figure,
    history_figure,
    scatter_figure,
    tissue_figure,
)
from components.evaluate_model.report_sections import (
    ablation_section,
    attention_section,
    calibration_section,
    dna_alone_section,
    interval_html,
    strata_section,
)
from components.evaluate_model.scores import DERIVED_HEADINGS, HEADINGS, Scores
from components.evaluate_model.subject import Subject
from components.html_page import AMBER, BLUE, GREY, embedded, facts, mark, page, section, table
from components.params import Params

SIMULATED = "these data are simulated: the figures test the software and say nothing about biology."
LABELS = {
    "tissue_mean": "Tissue mean",
    "ridge": "Ridge, lengths + composition",
    "boosting": "Gradient boosting, same features",
    "kmer_ridge": "k-mer ridge, DNA + RNA + protein",
    "nearest_neighbour": "Nearest neighbour by homology",
    "dna_alone": "DNA tower alone",
    "gene_mean": "Gene mean (oracle)",
    "uniform_share": "Even isoform share (oracle)",
}


def report_page(
    subject: Subject,
    evaluation: Evaluation,
    params: Params,
    *,
    intervals: Mapping[str, Any] | None,
    attention: AttentionTable | None,
) -> str:
    """The whole page as HTML."""
    level = f"{params.evaluate.confidence:.0%}"
    pieces = [
        "<h1>Evaluation of an isoform expression model</h1>",
        f'<p class="lead">Transcript expression in {len(evaluation.tissues)} tissues, on genes held out of training.'
        f" Intervals are {level}, from {params.evaluate.resamples:,} resamples of genes.</p>",
    ]
    if subject.simulated:
        pieces.append(f'<div class="banner"><b>SIMULATED</b> — {escape(SIMULATED)}</div>')
    pieces += [
        _verdict(evaluation),
        _comparison(evaluation, subject),
        *dna_alone_section(evaluation),
        _tissues(evaluation),
        _scatter(evaluation),
        calibration_section(evaluation.calibration, intervals),
        strata_section(evaluation.strata),
        *ablation_section(evaluation, level),
        *attention_section(attention),
        _data(subject),
        _training(subject),
        _provenance(subject, params),
    ]
    suffix = " (simulated data)" if subject.simulated else ""
    return page(f"Model evaluation{suffix}", pieces)


def _verdict(evaluation: Evaluation) -> str:
    blessed = evaluation.verdict["blessed"]
    reasons = evaluation.verdict["reasons"]
    rules = evaluation.verdict["rules"]
    heading = "Blessed" if blessed else "Not blessed"
    lead = (
        f"All {len(rules)} rules passed."
        if blessed
        else f"{len(reasons)} of {len(rules)} rules failed; they stand first below."
    )
    rows = [
        ("", [mark("pass", "good") if rule["passed"] else mark("fail", "bad"), escape(rule["sentence"])])
        for rule in sorted(rules, key=lambda rule: rule["passed"])
    ]
    means = evaluation.model.means
    figures = [
        (f"{means['r2'].value:.3f}", "mean R²"),
        (f"{means['spearman'].value:.3f}", "mean Spearman"),
        (f"{means['within_gene_spearman'].value:.3f}", "isoform Spearman within genes"),
        (f"{len(evaluation.observed):,}", "test transcripts"),
        (f"{len(evaluation.groups.sizes):,}", "test genes"),
    ]
    if blessed:
        lead += " " + _promotion(evaluation)
    body = f"<p>{lead}</p>" + facts([(figure.replace("nan", "n/a"), word) for figure, word in figures])
    card = section(heading, body).replace("<section>", f'<section class="verdict {"good" if blessed else "bad"}">', 1)
    return card + "\n" + section("Rules", table(["", "What was found"], rows, text_columns=2))


def _promotion(evaluation: Evaluation) -> str:
    champion = evaluation.verdict["champion"]
    if champion is None:
        return "There is no champion to compare it with: packaged, it becomes the first."
    name = f"<code>{escape(champion['version'])}</code>"
    if evaluation.verdict["promoted"]:
        return f"It is better than the champion {name} on the same genes, and is promoted when it is packaged."
    return f"It is not shown to be better than the champion {name}, which stays unless a person promotes this model."


def _comparison(evaluation: Evaluation, subject: Subject) -> str:
    headings = ["Prediction", *HEADINGS.values(), "R² gained by the model"]
    rows: list[tuple[str, list[str]]] = [("strong", _row("The model", evaluation.model, None))]
    rows.append(("group", ["Honest baselines: fitted on train, tuned on valid, read on test"]))
    rows += [("", _row(LABELS[name], scores, evaluation.gains[name])) for name, scores in evaluation.baselines.items()]
    rows.append(("group", ["Oracles: they know test labels; shown as what is attainable, never gated on"]))
    rows += [
        ("quiet", _row(LABELS[name], scores, evaluation.gains[name])) for name, scores in evaluation.oracles.items()
    ]
    lines = [("The model", evaluation.model.means["r2"], BLUE)]
    lines += [(LABELS[name], scores.means["r2"], AMBER) for name, scores in evaluation.baselines.items()]
    lines += [(LABELS[name], scores.means["r2"], GREY) for name, scores in evaluation.oracles.items()]
    for label, value in (
        ("Ceiling: noise of the simulation", subject.ceiling),
        ("Ceiling: label reliability", subject.reliability),
    ):
        if value is not None:
            lines.append((label, Interval(value, value, value), GREY))
    known = "".join(
        f"<li><b>{escape(LABELS[name])}</b>: {escape(text)}</li>" for name, text in {**HONEST, **ORACLES}.items()
    )
    notes = (
        f'<details><summary>What each of them knows, and what the columns mean</summary><ul class="note">{known}</ul>'
        '<p class="note">R² = 1 − SS<sub>res</sub> / SS<sub>tot</sub> and Spearman are computed per tissue over test'
        " transcripts and averaged. Isoform Spearman and top-1 rank the isoforms of one gene and average over genes;"
        f" guessing finds the top isoform in {evaluation.top1_chance:.3f} of cases. Profile corr. is the correlation"
        " over tissues after each tissue’s own mean is taken off. Label reliability is the agreement of two halves of"
        " the samples, stepped up to all of them: labels are not more certain than that. Share distance is half the sum"
        " of differences between observed and predicted isoform shares, 0 to 1, smaller is better. tau is the"
        " specificity of a transcript to few tissues; gene totals sum the TPM of a gene’s isoforms. n/a: not defined,"
        " as for a constant prediction; gates count it as no skill.</p></details>"
    ).replace("nan of cases", "n/a of cases")
    figure = embedded(
        comparison_figure(lines), "Mean R² over tissues with intervals: model, baselines, what is attainable."
    )
    derived = "<h3>What follows from the predictions</h3>" + _derived(evaluation)
    return section("Against baselines", table(headings, rows), figure, *_ceilings(subject, evaluation), derived, notes)


def _derived(evaluation: Evaluation) -> str:
    """Shares of isoforms, tissue specificity and gene totals, of the model and of all others."""
    others = {**evaluation.baselines, **evaluation.oracles}
    rows = [("strong", ["The model", *(interval_html(evaluation.model.means[name]) for name in DERIVED_HEADINGS)])]
    rows += [
        (
            "" if name in evaluation.baselines else "quiet",
            [escape(LABELS[name]), *(interval_html(scores.means[key]) for key in DERIVED_HEADINGS)],
        )
        for name, scores in others.items()
    ]
    return table(["Prediction", *DERIVED_HEADINGS.values()], rows)


def _ceilings(subject: Subject, evaluation: Evaluation) -> list[str]:
    if subject.ceiling is None:
        return []
    reached = evaluation.model.means["r2"].value / subject.ceiling
    rows = [
        ("", [escape(name.replace("+", " + ")), f"{value:.3f}"])
        for name, value in sorted(subject.ceilings.items(), key=lambda item: item[1])
    ]
    return [
        f"<p>The model reaches <b>{reached:.0%}</b> of the ceiling that the simulation’s noise leaves.</p>",
        "<details><summary>Ceilings of the simulation: R² of a perfect reader of these modalities</summary>"
        f"{table(['Modalities', 'R²'], rows)}</details>",
    ]


def _row(label: str, scores: Scores, gain: Interval | None) -> list[str]:
    cells = [interval_html(scores.means[name]) for name in HEADINGS]
    return [escape(label), *cells, interval_html(gain, signed=True) if gain else "—"]


def _tissues(evaluation: Evaluation) -> str:
    caption = "Bars and points: the model with its interval. Amber ticks: the best honest baseline in that tissue."
    rows = [
        ("", [escape(tissue), interval_html(r2), interval_html(spearman)])
        for tissue, r2, spearman in zip(evaluation.tissues, evaluation.model.r2, evaluation.model.spearman, strict=True)
    ]
    details = f"<details><summary>As a table</summary>{table(['Tissue', 'R²', 'Spearman'], rows)}</details>"
    return section("Per tissue", embedded(tissue_figure(evaluation), caption), details)


def _scatter(evaluation: Evaluation) -> str:
    caption = "Predicted against observed expression of test transcripts; the dashed line is equality."
    return section("Predicted and observed", embedded(scatter_figure(evaluation), caption))


def _training(subject: Subject) -> str:
    history = subject.history
    if not history:
        return section("Training", "<p>No epoch was recorded.</p>")
    best = min(history, key=lambda entry: entry["valid_mse"])
    figures = [
        (f"{len(history)}", "epochs"),
        (f"{history[-1]['step']:,}", "optimizer steps"),
        (f"{best['epoch'] + 1}", "epoch with the lowest validation loss"),
        (f"{best['valid_r2']:.3f}", "validation R² there"),
    ]
    caption = "Loss on standardised labels, and mean R² over tissues on the validation split."
    return section("Training", facts(figures), embedded(history_figure(history), caption))


def _data(subject: Subject) -> str:
    dataset = subject.dataset
    counts = dataset.get("counts", {})
    rows_of, genes_of = counts.get("rows_per_split", {}), counts.get("genes_per_split", {})
    rows = [
        ("", [escape(split), f"{rows_of[split]:,}", f"{genes_of.get(split, 0):,}"])
        for split in ("train", "valid", "test")
        if split in rows_of
    ]
    dropped = [
        ("", [escape(reason.replace("_", " ")), f"{count:,}"]) for reason, count in counts.get("dropped", {}).items()
    ]
    pieces = [table(["Split", "Transcripts", "Genes"], rows)] if rows else []
    if dropped:
        listed = table(["Reason", "Number"], dropped)
        pieces.append(f"<details><summary>Transcripts that were left out</summary>{listed}</details>")
    policy = dataset.get("split_policy", {}).get("policy", "gene")
    return section(
        "Data", f"<p>Split by {escape(str(policy))}; DNA windows of {dataset['window_bp']:,} bp.</p>", *pieces
    )


def _provenance(subject: Subject, params: Params) -> str:
    dataset = subject.dataset
    rows = [
        ("Model", subject.model.digest),
        ("Dataset", subject.transcripts.digest),
        ("Raw data and extraction", str(dataset.get("dataset_version", "not stated"))),
        ("Model’s configuration", str(subject.model.manifest["config_digest"])),
        ("Split", json.dumps(dataset.get("split_policy", {}))),
        ("Evaluation parameters", json.dumps(params.evaluate.model_dump(mode="json"))),
    ]
    cells = [("", [escape(name), f"<code>{escape(value)}</code>"]) for name, value in rows]
    note = '<p class="note">When and where this was computed stands in run.json beside the payload.</p>'
    return section("Provenance", table(["", "sha256 or setting"], cells, text_columns=2), note)
