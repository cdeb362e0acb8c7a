"""The rotary encoder against the published implementations, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import RotaryConfig
from model.encoders.rotary_encoder import RotaryEncoder
from model.isoformer import TokenInput
from model.tokenizers import ESM_CLS, ESM_EOS, ESM_MASK, ESM_PAD, sixmer_tokens

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "nt_v2_tiny_jax.npz"
TOLERANCE = 1e-5


def encode(encoder: RotaryEncoder, sequences: list[np.ndarray]) -> list[Tensor]:
    """Final states of each sequence, packed together."""
    offsets = np.cumsum([0, *map(len, sequences)])
    packed = TokenInput.from_packed(np.concatenate(sequences), offsets, torch.device("cpu"))
    with torch.no_grad():
        states = packed.layout.spread(encoder(packed.tokens, packed.layout))
    return [states[row, : len(tokens)] for row, tokens in enumerate(sequences)]


def test_nucleotide_transformer_equals_the_published_jax_implementation() -> None:
    """Final states of the published JAX Nucleotide Transformer v2 on random weights, fp32, to 1e-5."""
    if not FIXTURE.is_file():
        pytest.skip(f"NOT CHECKED: parity with the published Nucleotide Transformer v2, {FIXTURE} is absent")
    arrays = np.load(FIXTURE, allow_pickle=False)
    config = RotaryConfig(
        alphabet="sixmer",
        layers=3,
        width=48,
        heads=4,
        feed_forward_width=64,
        feed_forward="gated_silu",
        max_tokens=64,
    )
    encoder = RotaryEncoder(config).eval()
    encoder.load_state_dict(_from_jax(arrays, layers=3))
    tokens = [np.trim_zeros(np.where(row == 1, 0, row), "b") for row in arrays["ids"]]
    for row, sequence in enumerate(arrays["seqs"]):
        assert np.array_equal(sixmer_tokens(str(sequence)), tokens[row])
    for row, states in enumerate(encode(encoder, tokens)):
        expected = arrays["out::embeddings_3"][row, : len(tokens[row])]
        np.testing.assert_allclose(states.numpy(), expected, atol=TOLERANCE, rtol=0)


def _from_jax(arrays: np.lib.npyio.NpzFile, layers: int) -> dict[str, Tensor]:
    def get(name: str) -> Tensor:
        return torch.from_numpy(arrays[f"param::nt/{name}"].T.copy())

    final = "~/roberta_lm_head/~/emb_layer_norm_after"
    state = {
        "embedding.weight": torch.from_numpy(arrays["param::nt/~/embed::embeddings"]),
        "norm.weight": get(f"{final}::scale"),
        "norm.bias": get(f"{final}::offset"),
    }
    for index in range(layers):
        ours, theirs = f"layers.{index}", f"attention_layer_{index}/~"
        attention = [f"{theirs}/self_attention/{name}" for name in ("query", "key", "value")]
        state |= {
            f"{ours}.attention_norm.weight": get(f"{theirs}/self_attention_layer_norm::scale"),
            f"{ours}.attention_norm.bias": get(f"{theirs}/self_attention_layer_norm::offset"),
            f"{ours}.query_key_value.weight": torch.cat([get(f"{name}::w") for name in attention]),
            f"{ours}.query_key_value.bias": torch.cat([get(f"{name}::b") for name in attention]),
            f"{ours}.attention_output.weight": get(f"{theirs}/self_attention/mha_output::w"),
            f"{ours}.attention_output.bias": get(f"{theirs}/self_attention/mha_output::b"),
            f"{ours}.feed_forward_norm.weight": get(f"{theirs}/final_layer_norm::scale"),
            f"{ours}.feed_forward_norm.bias": get(f"{theirs}/final_layer_norm::offset"),
            f"{ours}.feed_forward_in.weight": get(f"{theirs}/fc1::w"),
            f"{ours}.feed_forward_out.weight": get(f"{theirs}/fc2::w"),
        }
    return state


@pytest.fixture
def esm_pair() -> tuple[RotaryEncoder, torch.nn.Module]:
    """Our encoder and transformers' EsmModel with the same random weights, 3 layers of width 40."""
    from transformers import EsmConfig, EsmModel

    torch.manual_seed(0)
    theirs = EsmModel(
        EsmConfig(
            vocab_size=33,
            hidden_size=40,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=160,
            position_embedding_type="rotary",
            token_dropout=True,
            emb_layer_norm_before=False,
            layer_norm_eps=1e-5,
            mask_token_id=ESM_MASK,
            pad_token_id=ESM_PAD,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    ).eval()
    for parameter in theirs.parameters():
        parameter.data.normal_(std=0.2)
    ours = RotaryEncoder(
        RotaryConfig(
            alphabet="esm",
            layers=3,
            width=40,
            heads=4,
            feed_forward_width=160,
            feed_forward="gelu",
            max_tokens=64,
            token_dropout=True,
        )
    ).eval()
    ours.load_state_dict(_from_transformers(theirs.state_dict(), layers=3))
    return ours, theirs


def _from_transformers(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    ours = {
        "embedding.weight": state["embeddings.word_embeddings.weight"],
        "norm.weight": state["encoder.emb_layer_norm_after.weight"],
        "norm.bias": state["encoder.emb_layer_norm_after.bias"],
    }
    names = {
        "attention_norm": "attention.LayerNorm",
        "attention_output": "attention.output.dense",
        "feed_forward_norm": "LayerNorm",
        "feed_forward_in": "intermediate.dense",
        "feed_forward_out": "output.dense",
    }
    for index in range(layers):
        for kind in ("weight", "bias"):
            theirs = f"encoder.layer.{index}"
            parts = [state[f"{theirs}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            ours[f"layers.{index}.query_key_value.{kind}"] = torch.cat(parts)
            for own, other in names.items():
                ours[f"layers.{index}.{own}.{kind}"] = state[f"{theirs}.{other}.{kind}"]
    return ours


@pytest.mark.parametrize("masked", [False, True])
def test_esm_equals_transformers(esm_pair: tuple[RotaryEncoder, torch.nn.Module], masked: bool) -> None:
    """ESM-2 in transformers, padded, against ours, packed: fp32 to 1e-5, with and without mask tokens."""
    ours, theirs = esm_pair
    rng = np.random.default_rng(0)
    sequences = [np.array([ESM_CLS, *rng.integers(4, 24, length), ESM_EOS]) for length in (37, 5, 21)]
    if masked:
        sequences[0][[3, 9, 10]] = ESM_MASK
    longest = max(map(len, sequences))
    padded = np.array([np.pad(tokens, (0, longest - len(tokens)), constant_values=ESM_PAD) for tokens in sequences])
    with torch.no_grad():
        expected = theirs(torch.from_numpy(padded), attention_mask=torch.from_numpy(padded != ESM_PAD))[0]
    for row, states in enumerate(encode(ours, sequences)):
        torch.testing.assert_close(states, expected[row, : len(sequences[row])], atol=TOLERANCE, rtol=0)


def test_variable_length_attention_is_asked_for_the_same_thing(
    esm_pair: tuple[RotaryEncoder, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU's kernel, replaced by its definition: our arguments make it give what the blocks give.

    The kernel itself needs a GPU.
    """
    import torch.nn.attention.varlen as varlen

    from model.encoders import rotary_encoder

    asked = []

    def definition(
        q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, begin: Tensor, begin_k: Tensor, longest: int, longest_k: int
    ) -> Tensor:
        asked.append(begin)
        assert begin.dtype == begin_k.dtype == torch.int32
        assert longest == longest_k == begin.diff().max()
        pieces = []
        for start, stop in zip(begin[:-1].tolist(), begin[1:].tolist(), strict=True):
            q, k, v = (x[start:stop].transpose(0, 1) for x in (q_THK, k_THK, v_THK))
            pieces.append(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(0, 1))
        return torch.cat(pieces)

    ours, _ = esm_pair
    rng = np.random.default_rng(0)
    sequences = [np.array([ESM_CLS, *rng.integers(4, 24, length), ESM_EOS]) for length in (37, 5, 90, 21, 1)]
    expected = encode(ours, sequences)
    monkeypatch.setattr(rotary_encoder, "has_varlen_kernel", lambda x: True)
    monkeypatch.setattr(varlen, "varlen_attn", definition)
    for found, wanted in zip(encode(ours, sequences), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
    assert len(asked) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT CHECKED: variable-length attention needs a GPU")
def test_packed_attention_on_a_gpu_equals_blocks_on_the_cpu() -> None:
    """bf16 through the variable-length kernel, forward and backward, against fp32 blocks, within bf16's bound."""
    from model.presets import esm2

    torch.manual_seed(0)
    encoder = RotaryEncoder(esm2("8m")).eval()
    rng = np.random.default_rng(0)
    lengths = np.array([300, 7, 64, 129])
    tokens = rng.integers(4, 24, lengths.sum())
    states = []
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        packed = TokenInput.from_packed(tokens, np.append(0, lengths.cumsum()), torch.device(device))
        encoder = encoder.to(device, dtype)
        out = encoder(packed.tokens, packed.layout)
        out.float().square().mean().backward()
        states.append(out.detach().float().cpu())
        assert all(p.grad.isfinite().all() for p in encoder.parameters())
        encoder.zero_grad()
    error = (states[1] - states[0]).square().mean().sqrt() / states[0].square().mean().sqrt()
    assert error < 0.03
