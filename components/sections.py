"""The sections of params.yaml: every knob with its type, its default and its bounds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WeightsParams(Section):
    """Checkpoints that training starts from: paths of safetensors, of their folder, or of a model's folder.

    `isoformer` holds the whole network, the others one encoder each. `new_head` leaves the head of the whole network
    at its initial values, for other tissues. `key_map`: corrections of names of tensors. Digests of the files, not
    their paths, decide what a trained model is.
    """

    isoformer: str | None = None
    dna: str | None = None
    rna: str | None = None
    protein: str | None = None
    key_map: str | None = None
    new_head: bool = False


class DataParams(Section):
    """Where the raw files are: a folder, names in it that differ from the documented ones; and initial weights.

    `families` (genes and their families), `regions` (a BED file) and `previous` (the transcripts artifact to compare
    with) are used where they are named; `variants` (a VCF, or lines of chrom:pos:ref:alt) by batch prediction.
    """

    folder: str = "data/raw"
    genome: str | None = None
    annotation: str | None = None
    expression: str | None = None
    sample_attributes: str | None = None
    families: str | None = None
    regions: str | None = None
    previous: str | None = None
    variants: str | None = None
    weights: WeightsParams = WeightsParams()


class FabricateParams(Section):
    """The simulated genome, annotation and expression.

    `window_bp` spaces the genes; None = extract.window_bp. `*_dose` multiply the effects of each modality's elements
    on log1p TPM (0 = none, and no interaction with them either). Rates are probabilities: `motif_rate` of an element
    where it counts, `decoy_rate` of one where it does not, `shared_tss_rate` of a transcript to start with another.
    `tss_spread_bp`: start sites of one promoter lie up to so many bp downstream of each other; 0 = at one place.
    """

    seed: int = 1
    transcripts: int = Field(default=10_000, ge=60)
    contigs: int = Field(default=10, ge=1)
    window_bp: int | None = Field(default=None, gt=0)
    noncoding_share: float = Field(default=0.13, ge=0, lt=1)
    shared_tss_rate: float = Field(default=0.22, ge=0, lt=1)
    tss_spread_bp: int = Field(default=0, ge=0, le=40)
    motif_rate: float = Field(default=0.5, gt=0, lt=1)
    decoy_rate: float = Field(default=0.15, ge=0, le=1)
    dna_dose: float = Field(default=1.0, ge=0)
    rna_dose: float = Field(default=1.0, ge=0)
    protein_dose: float = Field(default=1.0, ge=0)
    interaction_dose: float = Field(default=1.0, ge=0)
    transcript_noise_sd: float = Field(default=0.3, ge=0)
    sample_noise_sd: float = Field(default=0.3, ge=0)
    samples_per_tissue: int = Field(default=3, ge=1)


class ValidateParams(Section):
    """Thresholds of the data checks, of the raw files and of what extraction made; a share is a fraction of 1.

    What falls short of a `min_…` or exceeds a `max_…` of the first group blocks the run; the second group warns.
    """

    min_transcripts: int = Field(default=1, ge=1)
    min_matched_share: float = Field(default=0.05, ge=0, le=1)
    min_contig_share: float = Field(default=0.5, ge=0, le=1)
    min_tissues: int = Field(default=1, ge=1)
    max_internal_stop_share: float = Field(default=0.05, ge=0, le=1)
    max_drift_ks: float = Field(default=0.2, ge=0, le=1)
    max_drift_psi: float = Field(default=0.25, ge=0)

    warn_matched_share: float = Field(default=0.8, ge=0, le=1)
    warn_unknown_base_share: float = Field(default=0.2, ge=0, le=1)
    warn_gc_low: float = Field(default=0.25, ge=0, le=1)
    warn_gc_high: float = Field(default=0.65, ge=0, le=1)
    warn_rna_bp: int = Field(default=200_000, gt=0)
    warn_samples_per_tissue: int = Field(default=2, ge=1)
    warn_tissues: int = Field(default=30, ge=1)
    warn_tpm_sum_low: float = Field(default=9e5, ge=0)
    warn_tpm_sum_high: float = Field(default=1.1e6, gt=0)
    warn_unexpressed_share: float = Field(default=0.5, ge=0, le=1)
    warn_kept_share: float = Field(default=0.5, ge=0, le=1)
    warn_internal_stop_share: float = Field(default=0.005, ge=0, le=1)
    warn_split_genes: int = Field(default=50, ge=1)
    warn_expressed_share: float = Field(default=0.05, ge=0, le=1)
    warn_label_sd: float = Field(default=0.1, ge=0)
    warn_reliability: float = Field(default=0.3, ge=0, le=1)
    warn_drift_ks: float = Field(default=0.1, ge=0, le=1)
    warn_drift_psi: float = Field(default=0.1, ge=0)
    warn_moved_share: float = Field(default=0.0, ge=0, le=1)


class SplitParams(Section):
    """How transcripts are divided; neither a gene nor a family of genes is ever in two splits.

    `policy`: gene (by a hash of the gene; genes that share an RNA or protein go together), family (likewise, with genes
    of similar proteins), chromosome (`valid_contigs`, `test_contigs`), block (by a hash of contiguous blocks of
    `block_bp`), region (a BED file; its names are split names or stand in `region_splits`, else train; each region is
    widened by `region_margin_bp` on both sides).
    `min_shared_kmers`: proteins that share this part of their 5-mers are similar. `exclude_overlapping_windows`: leave
    out transcripts whose DNA window overlaps one of a more held-out split.
    """

    policy: Literal["gene", "family", "chromosome", "block", "region"] = "gene"
    seed: int = 0
    valid_share: float = Field(default=0.05, gt=0, lt=1)
    test_share: float = Field(default=0.10, gt=0, lt=1)
    valid_contigs: list[str] = []
    test_contigs: list[str] = []
    block_bp: int = Field(default=5_000_000, gt=0)
    region_splits: dict[str, Literal["train", "valid", "test"]] = {}
    region_margin_bp: int = Field(default=0, ge=0)
    min_shared_kmers: float = Field(default=0.1, gt=0, le=1)
    exclude_overlapping_windows: bool = True


class ExtractParams(Section):
    """From annotation to sequences, labels and splits.

    `window_overflow`: pad windows past contig ends with N, or drop those transcripts. `gene_types`, `transcript_types`:
    only these (empty = all). `min_orf_residues`: call the longest frame of this length where the annotation is silent
    (None = never). `tissue_column`: SMTS, or SMTSD for subtissues. `tissues`: in this order (empty = the paper's 30 if
    the data has just these, else sorted). `id_matching`: ways to match transcript ids, tried in this order.
    """

    window_bp: int = Field(default=512, gt=0)
    window_overflow: Literal["pad", "drop"] = "pad"
    gene_types: list[str] = []
    transcript_types: list[str] = []
    coding_only: bool = False
    min_orf_residues: int | None = Field(default=None, ge=1)
    tissue_column: str = "SMTS"
    tissues: list[str] = []
    id_matching: list[Literal["exact", "without_suffix", "versionless"]] = ["exact", "without_suffix", "versionless"]
    split: SplitParams = SplitParams()


class ModelParams(Section):
    """Which network: a named size, and what of it to change.

    `overrides` are keys of model.config.IsoFormerConfig, nested as there.
    """

    preset: str = "tiny"
    modalities: list[Literal["dna", "rna", "protein"]] = ["dna", "rna", "protein"]
    overrides: dict[str, Any] = {}


class PretrainParams(Section):
    """Pre-training of one encoder at small scale, from sequences alone or from tracks along the genome.

    A step is `batch_sequences` sequences or windows. `mask_rate`: share of tokens to be guessed, of which 80 % are
    hidden, 10 % replaced and 10 % left, as BERT, ESM-2 and the Nucleotide Transformer do. `valid_share` of sequences
    or windows is kept for the curve and never trained on. Learning rates warm up, then fall as a cosine.
    """

    seed: int = 0
    steps: int = Field(default=2000, ge=1)
    batch_sequences: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    gradient_clip_norm: float = Field(default=1.0, gt=0)
    mask_rate: float = Field(default=0.15, gt=0, lt=1)
    valid_share: float = Field(default=0.05, gt=0, lt=1)
    valid_every_steps: int = Field(default=200, ge=1)
    checkpoint_every_steps: int = Field(default=200, ge=1)


class BaselineParams(Section):
    """How strong the honest baselines are: they read the central `dna_bp` of the DNA window."""

    dna_bp: int = Field(default=4096, gt=0)
    kmer_nucleotides: int = Field(default=5, ge=1, le=6)
    kmer_residues: int = Field(default=2, ge=1, le=2)
    boosting_components: int = Field(default=8, ge=1)
    boosting_iterations: int = Field(default=300, ge=1)


Baseline = Literal["tissue_mean", "ridge", "boosting", "kmer_ridge", "nearest_neighbour", "dna_alone"]


class GateParams(Section):
    """What a model needs to be blessed.

    `better_than`: honest baselines whose paired lower bound of R² gained must be above 0. `require_contribution`:
    modalities whose shuffling across genes must cost R², interval above 0. `max_difference`: of an answer in another
    batch, padded, or by ONNX Runtime, log1p TPM. `tissue_identity`: permuting the predicted tissues must destroy the
    profile correlation. `champion_margin`: R² that a model may be worse than the champion by.
    """

    min_test_genes: int = Field(default=50, ge=1)
    min_r2: float = 0.1
    min_spearman: float = 0.2
    better_than: list[Baseline] = ["tissue_mean", "ridge", "boosting", "kmer_ridge", "nearest_neighbour"]
    within_gene_above_chance: bool = True
    tissue_identity: bool = True
    require_contribution: list[Literal["dna", "rna", "protein"]] = []
    max_difference: float = Field(default=1e-3, gt=0)
    champion_margin: float = Field(default=0.02, ge=0)


class EvaluateParams(Section):
    """Metrics, baselines and gates.

    `resamples` of genes for intervals of R² and of means over genes; `rank_resamples` for those of Spearman.
    `contributions`: whether to predict again with each modality shuffled across genes; `ablations`: likewise with
    modalities removed and with random DNA. `attention_transcripts`: test transcripts whose RNA attention is compared
    with that before training (0 = none). `dna_alone`: train the DNA tower and head alone with the model's recipe, as a
    baseline. `onnx`: export the network and compare its answers. `champion`: compare with the registry's champion.
    `interval_level`: coverage of prediction intervals.
    """

    seed: int = 0
    resamples: int = Field(default=2000, ge=100)
    rank_resamples: int = Field(default=500, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    contributions: bool = True
    ablations: bool = True
    attention_transcripts: int = Field(default=200, ge=0)
    dna_alone: bool = False
    onnx: bool = True
    champion: bool = True
    interval_level: float = Field(default=0.9, gt=0, lt=1)
    baselines: BaselineParams = BaselineParams()
    gates: GateParams = GateParams()


class PackageParams(Section):
    """The Bento and the registry.

    `registry`: a folder or an fsspec address; `signing_key`: a private key file, empty = unsigned; both are locations,
    outside the digest. `golden_transcripts`: test transcripts
    whose answers the packaged model must reproduce to `tolerance` (log1p TPM). `max_int8_difference`: serve int8
    weights, where their answers stay this close instead (log1p TPM); None serves float32. `torch`: the PyTorch weights
    go along, for servers with a GPU. `promote`: "if_better" makes the new version champion where there is none, or
    where its evaluation found it better than this champion, interval above 0.
    """

    registry: str = "registry"
    signing_key: str = ""
    golden_transcripts: int = Field(default=8, ge=1, le=64)
    tolerance: float = Field(default=1e-4, gt=0)
    max_int8_difference: float | None = Field(default=None, gt=0)
    torch: bool = False
    promote: Literal["if_better", "always", "never"] = "if_better"


class MonitorParams(Section):
    """When served transcripts count as drifted from the training data: both figures at or above their bounds.

    `max_psi`: population stability index; of n samples of one population it is about bins / n. `max_ks`:
    Kolmogorov-Smirnov distance. `min_transcripts`: with fewer nothing is said.
    """

    min_transcripts: int = Field(default=500, ge=20)
    max_psi: float = Field(default=0.25, gt=0)
    max_ks: float = Field(default=0.1, gt=0, le=1)
