"""Sections of the evaluation report: calibration, kinds of transcripts, ablations, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from components.evaluate_model.ablations import ISOFORMS_PERMUTED, RANDOM_DNA
from components.evaluate_model.attention import AttentionTable, AttentionTest
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.evaluation import Evaluation
from components.evaluate_model.figures import attention_figure, calibration_figure, contribution_figure, gain_figure
from components.evaluate_model.gates import MODALITY_NAMES
from components.evaluate_model.residuals import Calibration
from components.evaluate_model.strata import StratumScore
from components.html_page import embedded, facts, section, table

STRONGEST_TESTS = 12


def interval_html(figure: Interval, *, signed: bool = False) -> str:
    """A figure with its interval below it; "n/a" where it is not defined."""
    if figure.value != figure.value:
        return "n/a"
    style = "+.3f" if signed else ".3f"
    value = f"{figure.value:{style}}".replace("-", "−")
    if figure.low != figure.low:
        return value
    spread = f"{figure.low:{style}} to {figure.high:{style}}".replace("-", "−")
    return f'{value}<span class="range">{spread}</span>'


def dna_alone_section(evaluation: Evaluation) -> list[str]:
    """What RNA and protein add, tissue by tissue; nothing where the DNA tower was not trained alone."""
    if not evaluation.over_dna_alone:
        return []
    above = sum(gain.low > 0 for gain in evaluation.over_dna_alone)
    caption = "R² gained by the model over the DNA tower and head alone, trained by the same recipe, paired by gene."
    text = f"<p>Better in {above} of {len(evaluation.tissues)} tissues, interval above 0.</p>"
    return [
        section(
            "Against the DNA tower alone",
            text,
            embedded(gain_figure(evaluation.tissues, evaluation.over_dna_alone), caption),
        )
    ]


def calibration_section(calibration: Calibration, intervals: Mapping[str, Any] | None) -> str:
    """Whether predictions are right on average, and how often intervals cover."""
    caption = "Observed means, with intervals, of values predicted in each tenth; the dashed line is equality."
    figures = [(f"{calibration.slope.value:.3f}".replace("nan", "n/a"), "slope of observed on predicted (1 is right)")]
    notes = ["<p>No prediction intervals: training set no genes apart to calibrate them.</p>"]
    if intervals is not None:
        covered = intervals["test_coverage"]
        widths = [width for width in intervals["half_width"].values() if width is not None]
        figures += [
            (_share(covered["per_gene"]), f"covered per gene (aim {intervals['level']:.0%})"),
            (_share(covered["per_transcript"]), "covered per transcript"),
            (f"± {sum(widths) / len(widths):.2f}" if widths else "n/a", "mean half-width, log1p TPM"),
        ]
        notes = [
            '<p class="note">Prediction intervals are split conformal, one half-width per tissue, calibrated on '
            f"{intervals['calibration']['genes']:,} genes that neither training nor early stopping read. Coverage "
            "holds per gene: for a random transcript of a random gene.</p>"
        ]
    return section("Calibration", facts(figures), embedded(calibration_figure(calibration), caption), *notes)


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def strata_section(scores: Sequence[StratumScore]) -> str:
    """Skill by kind of transcript, as a table."""
    rows: list[tuple[str, list[str]]] = []
    partition = ""
    for score in scores:
        if score.partition != partition:
            partition = score.partition
            rows.append(("group", [escape(partition)]))
        rows.append(
            (
                "",
                [
                    escape(score.name),
                    f"{score.transcripts:,}",
                    f"{score.genes:,}",
                    interval_html(score.r2),
                    interval_html(score.spearman),
                    interval_html(score.bias, signed=True),
                ],
            )
        )
    note = (
        '<p class="note">R² and Spearman are computed within the group: a group of like values leaves less to explain.'
        " Groups by observed expression are chosen by what is predicted, so that their bias is a regression to the"
        " mean. Bias: predicted − observed, log1p TPM.</p>"
    )
    headings = ["Transcripts", "Number", "Genes", "R²", "Spearman", "Bias"]
    return section("By kind of transcript", table(headings, rows), note)


def ablation_section(evaluation: Evaluation, level: str) -> list[str]:
    """R² lost when inputs are taken from the model."""
    lines = [(f"{MODALITY_NAMES[name]} of another gene", lost) for name, lost in evaluation.contributions.items()]
    lines += [(_ablation_label(name), lost) for name, lost in evaluation.ablations.items()]
    if not lines:
        return []
    caption = f"R² lost, with {level} intervals. An input whose loss is 0 is not used."
    rows = [("", [escape(label), interval_html(lost, signed=True)]) for label, lost in lines]
    note = (
        '<p class="note">“Of another gene”: each test transcript is given that sequence of a transcript of another'
        " gene. “Removed”: only modalities that some training transcripts lack, so that the model was trained without."
        " “Another isoform of the gene”: all three sequences are exchanged within the gene.</p>"
    )
    figure = embedded(contribution_figure(lines), caption)
    return [section("What the model uses", figure, table(["Input", "R² lost"], rows), note)]


def _ablation_label(name: str) -> str:
    if name in (ISOFORMS_PERMUTED, RANDOM_DNA):
        return {ISOFORMS_PERMUTED: "Another isoform of the gene", RANDOM_DNA: "Random DNA"}[name]
    return f"{MODALITY_NAMES[name.removeprefix('without_')]} removed"


def attention_section(attention: AttentionTable | None) -> list[str]:
    """Where the RNA encoder looks, after training against before."""
    if attention is None or not attention.tests:
        return []
    significant = sum(test.p < 0.05 for test in attention.tests)
    strongest = sorted((test for test in attention.tests if test.p < 0.05), key=lambda test: -abs(test.effect))
    rows = [("", _attention_row(test)) for test in strongest[:STRONGEST_TESTS]]
    text = (
        f"<p>Share of the RNA encoder’s attention by genomic element, compared with {escape(attention.before)}: "
        f"{significant} of {len(attention.tests)} layers, heads and elements changed (paired t-tests over genes, "
        f"Holm-corrected, p &lt; 0.05), on {attention.transcripts:,} coding test transcripts.</p>"
    )
    note = (
        '<p class="note">Attention that a token receives, averaged over queries. CLS belongs to no element and is left'
        " out; a six-mer that straddles a border counts for each element by its nucleotides; of cropped RNAs only what"
        " is read counts. Effect: mean paired difference over its standard deviation.</p>"
    )
    caption = "Change of the share of attention, layers down, heads across; * marks significant changes."
    pieces = [text, embedded(attention_figure(attention), caption)]
    if rows:
        headings = ["Layer, head", "Element", "Tokens", "Before", "After", "Effect", "p (Holm)", "Genes"]
        listed = table(headings, rows, text_columns=2)
        pieces.append(f"<details><summary>The strongest changes</summary>{listed}</details>")
    return [section("Where the RNA encoder looks", *pieces, note)]


def _attention_row(test: AttentionTest) -> list[str]:
    shares = [f"{value:.1%}" for value in (test.tokens, test.before, test.after)]
    return [
        f"{test.layer + 1}, {test.head + 1}",
        escape(test.element),
        *shares,
        f"{test.effect:+.2f}".replace("-", "−"),
        f"{test.p:.2g}",
        f"{test.genes:,}",
    ]
