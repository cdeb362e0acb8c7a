"""What must hold of the whole network, whatever its size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from model.batch import TranscriptInput, collate
from model.config import MODALITIES, IsoFormerConfig
from model.export import PaddedIsoFormer
from model.isoformer import IsoFormer, TorchBatch
from model.onnx_backend import padded_inputs
from model.resampler import adaptive_mean_weights

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

EXACT = 1e-10
FUSIONS = ("cross_attention", "perceiver_resampler", "resampler_linear", "c_abstractor", "concatenation")


def build(config: IsoFormerConfig, seed: int = 0) -> IsoFormer:
    torch.manual_seed(seed)
    return IsoFormer(config).double().eval()


def predict(model: IsoFormer, items: list[TranscriptInput]) -> np.ndarray:
    with torch.no_grad():
        predicted = model(TorchBatch.from_packed(collate(items, model.config)))
    return predicted.numpy()


def test_batch_order_changes_nothing(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """A transcript's prediction does not depend on its place in the batch."""
    model, items = build(small_config), make_transcripts(small_config, 12)
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_allclose(
        predict(model, [items[i] for i in order]), predict(model, items)[order], rtol=0, atol=EXACT
    )


def test_company_changes_nothing(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """A transcript's prediction does not depend on what else is in the batch: packing and window sharing are exact."""
    model, items = build(small_config), make_transcripts(small_config, 12)
    alone = np.concatenate([predict(model, [item]) for item in items])
    np.testing.assert_allclose(predict(model, items), alone, rtol=0, atol=EXACT)


@pytest.mark.parametrize("absent", ["skip", "specials", "learned"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_padding_changes_nothing(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, absent: str, kind: str
) -> None:
    """The padded form that is exported gives what the packed one gives, however wide the padding."""
    fusion = replace(small_config.fusion, absent=absent, kind=kind)  # type: ignore[arg-type]
    model, items = build(replace(small_config, fusion=fusion)), make_transcripts(small_config, 9)
    padded = padded_inputs(collate(items, model.config), model.config)
    for name in ("rna_tokens", "protein_tokens"):
        padded[name] = np.pad(padded[name], ((0, 0), (0, 7)), constant_values=5)
    wrapper = PaddedIsoFormer(model)
    with torch.no_grad():
        found = wrapper(*(torch.from_numpy(padded[name]) for name in wrapper.names)).numpy()
    expected = model.to_log1p(torch.from_numpy(predict(model, items))).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("targets", [("dna",), ("dna", "rna", "protein")])
def test_gradient_reaches_every_parameter(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, targets: tuple[str, ...], kind: str
) -> None:
    """Every tower, every fusion layer and the head get a finite gradient that is not zero."""
    fusion = replace(small_config.fusion, kind=kind, targets=targets, absent="learned", absent_slot="learned")  # type: ignore[arg-type]
    model = build(replace(small_config, fusion=fusion)).train()
    items = make_transcripts(small_config, 12)
    model(TorchBatch.from_packed(collate(items, small_config))).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A key's bias adds the same to all logits of a query: its true gradient is zero.
        assert parameter.grad.abs().max() > 0 or name.endswith("key.bias"), name


@pytest.mark.parametrize("kept", [("dna",), ("rna",), ("protein",), ("dna", "rna"), ("rna", "protein")])
@pytest.mark.parametrize("absent", ["skip", "specials", "learned"])
def test_absent_modalities_are_defined(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, kept: tuple[str, ...], absent: str
) -> None:
    """A batch in which modalities are absent altogether predicts, and trains, without NaN."""
    fusion = replace(small_config.fusion, absent=absent)  # type: ignore[arg-type]
    model = build(replace(small_config, fusion=fusion))
    items = [
        TranscriptInput(**{name: getattr(item, name) for name in kept})
        for item in make_transcripts(small_config, 3, complete=True)
    ]
    predicted = model(TorchBatch.from_packed(collate(items, model.config)))
    predicted.square().sum().backward()
    assert predicted.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_adaptive_mean_is_torchs() -> None:
    """The pooling weights are those of torch's adaptive average pooling, for each length of a padded batch."""
    lengths = torch.tensor([9, 4, 1, 0])
    weights = adaptive_mean_weights(lengths, 9, 4)
    x = torch.randn(4, 9, 3)
    for row, length in enumerate(lengths.tolist()[:3]):
        expected = torch.nn.functional.adaptive_avg_pool1d(x[row : row + 1, :length].transpose(1, 2), 4)
        torch.testing.assert_close((weights[row] @ x[row]).T, expected[0])
    assert weights[3].abs().sum() == 0


def test_a_skipped_modality_is_as_if_the_model_lacked_its_term(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts
) -> None:
    """DNA-centred, `absent: skip`: without its protein a transcript gets what a model without protein encoder gives."""
    config = replace(small_config, fusion=replace(small_config.fusion, targets=("dna",)))
    model = build(config)
    reduced = build(replace(config, protein=None))
    own = reduced.state_dict()
    reduced.load_state_dict({name: value for name, value in model.state_dict().items() if name in own})
    items = [replace(item, protein=None) for item in make_transcripts(config, 4, complete=True)]
    np.testing.assert_allclose(predict(model, items), predict(reduced, items), rtol=0, atol=EXACT)


def test_specials_stand_for_an_absent_sequence(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts
) -> None:
    """`absent: specials`: a missing protein contributes its CLS and EOS, as the released checkpoint does."""
    config = replace(small_config, fusion=replace(small_config.fusion, targets=("dna",), absent="specials"))
    batch = collate([TranscriptInput(rna="ACGTACGT")], config)
    assert batch.protein_tokens.tolist() == [0, 2]
    assert batch.present.tolist() == [[False, True, False]]
    skipping = replace(config, fusion=replace(config.fusion, absent="skip"))
    items = [replace(item, protein=None) for item in make_transcripts(config, 4, complete=True)]
    assert np.abs(predict(build(config), items) - predict(build(skipping), items)).min() > 1e-4


def test_specials_stand_for_absent_dna_that_is_read_as_tokens(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts
) -> None:
    """A token encoder sees CLS alone for an absent window; it counts as absent, packed and padded alike."""
    assert small_config.rna is not None
    dna = replace(small_config.rna, max_tokens=128)
    config = replace(small_config, dna=dna, fusion=replace(small_config.fusion, absent="specials"))
    items = [
        replace(item, dna=None) if i % 2 else item for i, item in enumerate(make_transcripts(config, 6, complete=True))
    ]
    batch = collate(items, config)
    assert batch.dna_tokens[batch.dna_offsets[-2] :].tolist() == [3]
    assert batch.window_of_transcript[1::2].tolist() == [len(batch.dna_offsets) - 2] * 3
    assert batch.present[:, 0].tolist() == [True, False] * 3
    model = build(config)
    alone = np.concatenate([predict(model, [item]) for item in items])
    np.testing.assert_allclose(predict(model, items), alone, rtol=0, atol=EXACT)
    wrapper, padded = PaddedIsoFormer(model), padded_inputs(batch, config)
    with torch.no_grad():
        found = wrapper(*(torch.from_numpy(padded[name]) for name in wrapper.names)).numpy()
    np.testing.assert_allclose(found, model.to_log1p(torch.from_numpy(alone)).numpy(), rtol=0, atol=EXACT)
    skipping = build(replace(config, fusion=replace(config.fusion, absent="skip")))
    assert np.abs(alone - predict(skipping, items))[1::2].min() > 1e-4


@pytest.mark.parametrize("name", MODALITIES)
def test_a_single_modality_is_encoder_pool_head(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, name: str
) -> None:
    """With one encoder the head sees the mean of its states."""
    config = replace(small_config, **{other: None for other in MODALITIES if other != name})
    model = build(config)
    items = make_transcripts(config, 3, complete=True)
    batch = TorchBatch.from_packed(collate(items, config))
    with torch.no_grad():
        states = model._encode(name, batch)
        pooled = states.mean()
        np.testing.assert_allclose(model(batch).numpy(), model.head(pooled).numpy(), rtol=0, atol=EXACT)


def test_shared_windows_are_encoded_once(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """Transcripts with equal DNA windows send one window through the Enformer, in forward and gradient alike."""
    model = build(small_config)
    items = make_transcripts(small_config, 6, complete=True)
    batch = collate(items, small_config)
    assert len(batch.windows) == 3
    model(TorchBatch.from_packed(batch)).sum().backward()
    shared = model.encoders["dna"].stem_conv.weight.grad.clone()
    model.zero_grad()
    for item in items:
        model(TorchBatch.from_packed(collate([item], small_config))).sum().backward()
    torch.testing.assert_close(model.encoders["dna"].stem_conv.weight.grad, shared, atol=EXACT, rtol=EXACT)


def test_dna_may_be_read_by_a_token_encoder(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """Nucleotide Transformer as DNA encoder: packed windows, shared between transcripts, exactly."""
    assert small_config.rna is not None
    model = build(replace(small_config, dna=replace(small_config.rna, max_tokens=128)))
    items = make_transcripts(small_config, 9)
    alone = np.concatenate([predict(model, [item]) for item in items])
    np.testing.assert_allclose(predict(model, items), alone, rtol=0, atol=EXACT)


def test_output_scale_is_undone(small_config: IsoFormerConfig) -> None:
    """`to_log1p` is standardised × deviation + mean, per tissue."""
    model = IsoFormer(small_config)
    assert model.to_log1p(torch.full((1, 3), 2.0)).tolist() == [[2.0, 4.0, 7.0]]


GOLDEN = (
    (0.5017898712607533, 0.3656158103724784, 1.7402421882999375),
    (0.8044782854820405, 0.7098750906893191, 1.3322640),
)


def test_golden_values(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """A seeded small model gives the numbers it has always given."""
    model, items = build(small_config, seed=7), make_transcripts(small_config, 2, complete=True)
    np.testing.assert_allclose(predict(model, items), GOLDEN, atol=1e-6)


@pytest.mark.parametrize("absent", ["skip", "specials", "learned"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_batch_that_lacks_a_modality_leaves_no_parameter_without_gradient(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, absent: str, kind: str
) -> None:
    """Processes that train together exchange the gradients of all parameters: one that is missing would stop them."""
    fusion = replace(small_config.fusion, absent=absent, kind=kind, absent_slot="learned")  # type: ignore[arg-type]
    for batch_norm in ("frozen", "global"):
        dna = replace(small_config.dna, batch_norm=batch_norm)  # type: ignore[type-var,arg-type]
        model = build(replace(small_config, fusion=fusion, dna=dna)).train()
        items = make_transcripts(model.config, 2, complete=True)
        batches = {f"without {name}": [replace(item, **{name: None}) for item in items] for name in MODALITIES}
        for case, batch in {**batches, "of no transcript": []}.items():
            model.zero_grad(set_to_none=True)
            model(TorchBatch.from_packed(collate(batch, model.config))).square().sum().backward()
            assert not [name for name, p in model.named_parameters() if p.grad is None], f"a batch {case}"
            assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
