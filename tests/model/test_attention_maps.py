"""Attention of the RNA encoder equals that of transformers; asking for it changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from model.attention_maps import rna_attention, rna_attention_received
from model.batch import TranscriptInput, collate
from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer, TorchBatch
from model.pretrained import load_tower
from tests.model.published import esm_tensors, published_esm, write

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

TOLERANCE = 1e-5
SIXMERS = 4107


@pytest.fixture
def pair(small_config: IsoFormerConfig, tmp_path: Path) -> tuple[IsoFormer, nn.Module]:
    """A model whose RNA encoder has the weights of a transformers ESM over the six-mer alphabet."""
    theirs = published_esm(vocabulary=SIXMERS, width=32, layers=3, heads=4, inner=64)
    assert small_config.rna is not None
    rna = replace(small_config.rna, layers=3, width=32, heads=4, feed_forward="gelu", feed_forward_width=64)
    torch.manual_seed(0)
    model = IsoFormer(replace(small_config, rna=rna))
    load_tower(model, "rna", write(esm_tensors(theirs), tmp_path / "esm.safetensors"))
    return model.eval(), theirs


def test_attention_equals_transformers(pair: tuple[IsoFormer, nn.Module], make_transcripts: MakeTranscripts) -> None:
    """Every layer, head, query and key of every transcript, packed against padded: fp32 to 1e-5."""
    model, theirs = pair
    batch = collate(make_transcripts(model.config, 7), model.config)
    found, received = rna_attention(model, batch), rna_attention_received(model, batch)
    for row, (start, stop) in enumerate(zip(batch.rna_offsets, batch.rna_offsets[1:], strict=False)):
        tokens = torch.from_numpy(batch.rna_tokens[start:stop].astype("int64"))[None]
        count = int(stop - start)
        assert found[row].shape == (3, 4, count, count)
        assert received[row].shape == (3, 4, count)
        if not count:
            continue
        with torch.no_grad():
            maps = theirs.esm(tokens, attention_mask=torch.ones_like(tokens), output_attentions=True).attentions  # type: ignore[operator]
        expected = torch.cat(maps)
        torch.testing.assert_close(found[row], expected, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(received[row], expected.mean(dim=2), atol=TOLERANCE, rtol=0)
    assert any(item.shape[-1] > 5 for item in received)


def test_asking_leaves_no_trace(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """No hook stays, the mode is what it was, predictions and gradients are bit for bit those of before."""
    torch.manual_seed(0)
    model = IsoFormer(small_config).train()
    packed = collate(make_transcripts(small_config, 5), small_config)
    batch = TorchBatch.from_packed(packed)
    before = model(batch)
    rna_attention_received(model, packed)
    assert model.training
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    after = model(batch)
    assert torch.equal(after, before)
    after.sum().backward()


def test_every_query_spends_all_its_attention(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """Rows add up to 1, and so does what the tokens of a transcript receive."""
    model = IsoFormer(small_config).eval()
    batch = collate(make_transcripts(small_config, 6, complete=True), small_config)
    for maps, received in zip(rna_attention(model, batch), rna_attention_received(model, batch), strict=True):
        torch.testing.assert_close(maps.sum(dim=-1), torch.ones(maps.shape[:-1]))
        torch.testing.assert_close(received.sum(dim=-1), torch.ones(received.shape[:-1]))


def test_a_batch_without_rna_has_empty_maps(small_config: IsoFormerConfig) -> None:
    """Transcripts without RNA give maps of no tokens, not an error."""
    model = IsoFormer(small_config).eval()
    batch = collate([TranscriptInput(protein="MKV"), TranscriptInput(protein="M")], small_config)
    assert [item.shape for item in rna_attention(model, batch)] == [(2, 2, 0, 0)] * 2
    assert [item.shape for item in rna_attention_received(model, batch)] == [(2, 2, 0)] * 2


def test_a_model_without_rna_encoder_is_refused(small_config: IsoFormerConfig) -> None:
    """There is nothing to look at."""
    config = replace(small_config, rna=None)
    batch = collate([TranscriptInput(protein="MKV")], config)
    with pytest.raises(InputError, match="reads dna, protein"):
        rna_attention(IsoFormer(config), batch)
