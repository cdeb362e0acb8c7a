"""The sections of params.yaml that concern training: the recipe, and how to run it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.sections import Section


class RuntimeParams(Section):
    """How to run: nothing here may change a result (beyond rounding, where the number of processes does).

    `threads` of a training run, over all its processes (0 = all cores of the machine); `processes` is the number of
    training ranks on this machine, and of parts that a batch prediction computes at a time; `sharding` keeps a copy
    of the model per rank (ddp) or a slice (fsdp, FSDP2).
    `max_restarts` of the ranks after one died. `allow_reshard` goes on from a checkpoint of another number of
    processes or sharding, which is recorded. `preflight` computes the largest batches first, so that memory trouble
    shows at once. `recompute_activations`: towers whose blocks keep no activations for the backward pass.
    `tower_cache`: a folder for outputs of frozen towers, shared by experiments (None = in the work folder).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=2, ge=0)
    processes: int = Field(default=1, ge=1)
    sharding: Literal["ddp", "fsdp"] = "ddp"
    max_restarts: int = Field(default=3, ge=0)
    allow_reshard: bool = False
    preflight: bool = True
    keep_checkpoints: int = Field(default=2, ge=1)
    background_checkpoints: bool = True
    recompute_activations: list[Literal["dna", "rna", "protein"]] = Field(default=[])
    tower_cache: str | None = None
    trackers: list[Literal["tensorboard", "mlflow", "wandb", "dvclive"]] = Field(default=["tensorboard"])


class TowerParams(Section):
    """How one encoder is trained.

    `learning_rate`: None = train.learning_rate. `trainable`: all of it; low-rank terms of its attention projections
    (lora, of `lora_rank`, scaled by `lora_alpha` / rank); its last `last_blocks` blocks; or none: then it runs in
    evaluation mode. From epoch `unfreeze_epoch` on all of it is trained (None = never).
    """

    learning_rate: float | None = Field(default=None, gt=0)
    trainable: Literal["all", "lora", "last_blocks", "none"] = "all"
    lora_rank: int = Field(default=8, ge=1)
    lora_alpha: float = Field(default=16.0, gt=0)
    last_blocks: int = Field(default=2, ge=1)
    unfreeze_epoch: int | None = Field(default=None, ge=1)


class TowersParams(Section):
    """The encoders."""

    dna: TowerParams = TowerParams()
    rna: TowerParams = TowerParams()
    protein: TowerParams = TowerParams()


class BudgetParams(Section):
    """The most that a device computes at once (None = no bound); a step is split into micro-batches that keep to it."""

    transcripts: int | None = Field(default=None, ge=1)
    dna_windows: int | None = Field(default=None, ge=1)
    rna_tokens: int | None = Field(default=None, ge=1)
    protein_tokens: int | None = Field(default=None, ge=1)


class TrainParams(Section):
    """The training recipe; an optimizer step is always `batch_transcripts` transcripts over all processes.

    The paper's: Adam, learning rate 3e-5, batch 64, early stopping on a 5 % validation split (--preset paper).
    `loss_tissues`: the tissues whose labels count, in training and early stopping (empty = all);
    evaluation still judges them all.
    `early_stopping_metric` is read on the validation split after each epoch; the best epoch is kept.
    `batch_order`: shuffle DNA windows, whose transcripts stay together, or transcripts.
    `tss_cluster_bp`: transcription start sites this close share one window while training: inexact, 0 = off.
    `precision`: bf16 is autocast over float32 weights; float64 is for checks. `compile`: torch.compile of the blocks
    that have fixed shapes. `max_loss`: a training loss above it (standardised MSE) stops the run.
    `token_mask_rate` hides RNA and protein tokens in training; `ema_decay` averages weights (0 = off).
    `shuffle_labels` permutes the training labels over transcripts: a control that no gate may bless.
    `calibration_share`: of the validation genes, kept from early stopping to calibrate prediction intervals.
    """

    seed: int = 0
    batch_transcripts: int = Field(default=64, ge=1)
    budget: BudgetParams = BudgetParams()
    batch_order: Literal["windows", "transcripts"] = "windows"
    tss_cluster_bp: int = Field(default=0, ge=0)
    max_epochs: int = Field(default=50, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    loss_tissues: list[str] = Field(default=[])
    early_stopping_metric: Literal["mse", "r2"] = "mse"
    patience_epochs: int = Field(default=5, ge=1)
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=3e-5, gt=0)
    fusion_learning_rate: float | None = Field(default=None, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    towers: TowersParams = TowersParams()
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    warmup_steps: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    gradient_clip_norm: float = Field(default=1.0, gt=0)
    max_loss: float = Field(default=1000.0, gt=0)
    precision: Literal["float32", "bf16", "float64"] = "float32"
    compile: bool = False
    cache_frozen_towers: bool = False
    token_mask_rate: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    checkpoint_every_steps: int = Field(default=500, ge=1)
    shuffle_labels: bool = False
    calibration_share: float = Field(default=0.5, ge=0, lt=1)
