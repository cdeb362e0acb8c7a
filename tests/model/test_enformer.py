"""The Enformer trunk against its description, written out plainly, and against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from model.config import EnformerConfig, IsoFormerConfig
from model.encoders.enformer import Enformer, NormGeluConv, RelativeAttention
from model.encoders.positions import gamma_basis, positional_features

WINDOW_BP = 128


def plain_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def plain_norm_gelu_conv(block: NormGeluConv, x: Tensor) -> Tensor:
    norm = block.norm
    x = (x - norm.running_mean[:, None]) / torch.sqrt(norm.running_var[:, None] + 1e-5)
    x = x * norm.weight[:, None] + norm.bias[:, None]
    return F.conv1d(plain_gelu(x), block.conv.weight, block.conv.bias, padding=block.conv.kernel_size[0] // 2)


def plain_pool(weight: Tensor, x: Tensor) -> Tensor:
    pairs = x.reshape(*x.shape[:2], -1, 2)
    logits = torch.einsum("dc,wclp->wdlp", weight[:, :, 0], pairs)
    return (pairs * logits.softmax(dim=-1)).sum(dim=-1)


def plain_attention(layer: RelativeAttention, x: Tensor, table: Tensor) -> Tensor:
    """Every pair of positions looks up its own distance."""
    heads, length = layer.config.heads, x.shape[1]

    def split(y: Tensor) -> Tensor:
        return y.unflatten(2, (heads, -1)).transpose(1, 2)

    q = split(layer.query(x)) * layer.config.key_size**-0.5
    k, v = split(layer.key(x)), split(layer.value(x))
    places = torch.arange(length)
    distance = places[None, :] - places[:, None] + length - 1
    relative = layer.relative_key(table).unflatten(1, (heads, -1))[distance]
    logits = torch.einsum("whik,whjk->whij", q + layer.content_bias[:, None], k)
    logits = logits + torch.einsum("whik,ijhk->whij", q + layer.position_bias[:, None], relative)
    mixed = torch.einsum("whij,whjv->whiv", logits.softmax(dim=-1), v)
    return layer.output(mixed.transpose(1, 2).flatten(2))


def plain_enformer(model: Enformer, windows: np.ndarray) -> Tensor:
    """The facts of the trunk without any of the savings."""
    config = model.config
    one_hot = np.concatenate([np.eye(4), np.zeros((1, 4))])[windows]
    x = F.conv1d(torch.from_numpy(one_hot).transpose(1, 2), model.stem_conv.weight, model.stem_conv.bias, padding=7)
    x = plain_pool(model.stem_pool.logits.weight, x + plain_norm_gelu_conv(model.stem_residual, x))
    for stage in model.tower:
        x = plain_norm_gelu_conv(stage.conv, x)
        x = plain_pool(stage.pool.logits.weight, x + plain_norm_gelu_conv(stage.residual, x))
    x = x.transpose(1, 2)
    table = torch.from_numpy(positional_features(x.shape[1], config.position_features, config.gamma_basis))
    for layer in model.transformer:
        x = x + plain_attention(layer.attention, layer.attention_norm(x), table)
        x = x + layer.feed_forward_out(layer.feed_forward_in(layer.feed_forward_norm(x)).relu())
    x = x[:, config.crop_positions : x.shape[1] - config.crop_positions]
    return plain_gelu(plain_norm_gelu_conv(model.final, x.transpose(1, 2))).transpose(1, 2)


@pytest.mark.parametrize("crop_positions", [0, 3])
def test_trunk_equals_its_plain_description(small_config: IsoFormerConfig, crop_positions: int) -> None:
    """Folded GELU factors, sigmoid pooling, strided shift and the cropped last layer change nothing (float64)."""
    assert isinstance(small_config.dna, EnformerConfig)
    torch.manual_seed(0)
    model = Enformer(replace(small_config.dna, crop_positions=crop_positions), WINDOW_BP).double().eval()
    model.positions = torch.from_numpy(positional_features(16, 12, "per_distance"))
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    windows = np.random.default_rng(0).integers(0, 5, (3, WINDOW_BP)).astype(np.uint8)
    with torch.no_grad():
        found, expected = model(torch.from_numpy(windows)), plain_enformer(model, windows)
    assert found.shape == (3, 16 - 2 * crop_positions, 32)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("positions", [64, 1536])
@pytest.mark.parametrize("variant", ["per_distance", "per_basis"])
def test_gamma_basis_equals_scipy(positions: int, variant: str) -> None:
    """The gamma basis is scipy's gamma density, normalised in one of the two published ways (float64)."""
    from scipy.stats import gamma

    bases = 32
    size = np.abs(np.arange(1 - positions, positions, dtype=np.float64))[:, None]
    mean = np.linspace(positions / bases, positions, bases)
    deviation = positions / (2 * bases)
    density = gamma.pdf(size, a=(mean / deviation) ** 2, scale=deviation**2 / mean) + 1e-8
    expected = density / density.max(axis=1 if variant == "per_distance" else 0, keepdims=True)
    np.testing.assert_allclose(gamma_basis(size, positions, bases, variant), expected, rtol=1e-9, atol=1e-12)  # type: ignore[arg-type]


def test_gamma_variants_differ() -> None:
    """The two published variants are not interchangeable: entries differ by up to 1."""
    tables = [positional_features(1536, 192, variant) for variant in ("per_distance", "per_basis")]
    assert np.abs(tables[0] - tables[1]).max() > 0.9


def test_positional_features_are_three_bases_and_their_signed_copies() -> None:
    """Half-lives from 8 to n, widths 2^k − 1, and the second half is the first times sign(d)."""
    table = positional_features(1536, 192, "per_basis")
    assert table.shape == (3071, 192)
    distance = np.arange(-1535, 1536)
    np.testing.assert_allclose(table[:, 96:], table[:, :96] * np.sign(distance)[:, None])
    at = {int(d): row for d, row in zip(distance, table, strict=True)}
    assert at[8][0] == pytest.approx(0.5)
    np.testing.assert_allclose(at[-1535][31], 0.5 ** (1535 / 1536))
    assert at[2][32:35].tolist() == [0.0, 1.0, 1.0]


def test_unknown_bases_are_zeros(small_config: IsoFormerConfig) -> None:
    """N is no base: a window of N sees the biases only, whatever surrounds the code."""
    from model.encoders.enformer import one_hot

    encoded = one_hot(torch.tensor([[0, 1, 2, 3, 4]], dtype=torch.uint8), torch.float32)
    assert encoded[0].tolist() == [*np.eye(4).tolist(), [0.0] * 4]


def test_the_table_of_positions_is_never_rounded(small_config: IsoFormerConfig) -> None:
    """bf16 weights leave it in fp32, float64 weights get it in float64, as does one made without storage."""
    assert isinstance(small_config.dna, EnformerConfig)
    exact = torch.from_numpy(positional_features(16, 12, "per_distance"))
    model = Enformer(small_config.dna, WINDOW_BP).to(torch.bfloat16)
    assert torch.equal(model.positions, exact.float())
    assert torch.equal(model.double().positions, exact)
    with torch.device("meta"):
        model = Enformer(small_config.dna, WINDOW_BP)
    assert torch.equal(model.to_empty(device="cpu").positions, exact.float())


def test_kept_relative_keys_follow_the_weights(small_config: IsoFormerConfig) -> None:
    """Evaluation keeps the keys of distances; a weight that is written to, replaced or trained is seen."""
    assert isinstance(small_config.dna, EnformerConfig)
    model = Enformer(small_config.dna, WINDOW_BP).eval()
    attention = model.transformer[0].attention
    windows = torch.randint(0, 4, (2, WINDOW_BP), dtype=torch.uint8)

    def fresh() -> Tensor:
        with torch.no_grad():
            found = model(windows)
        for layer in model.transformer:
            layer.attention._kept_keys = None
        with torch.no_grad():
            torch.testing.assert_close(model(windows), found, atol=0, rtol=0)
        return found

    before = fresh()
    assert attention._kept_keys is not None
    with torch.no_grad():
        attention.relative_key.weight.mul_(3)
    scaled = fresh()
    assert not torch.equal(scaled, before)
    attention.relative_key.weight = torch.nn.Parameter(torch.zeros_like(attention.relative_key.weight))
    assert not torch.equal(fresh(), scaled)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(windows).square().sum().backward()
    assert attention.relative_key.weight.grad.abs().max() > 0
    optimizer.step()
    model.eval()
    fresh()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_block_compiles_to_one_graph(small_config: IsoFormerConfig, autocast: bool) -> None:
    """A break would cost a GPU what compilation gives; forward only, nothing is generated."""
    assert isinstance(small_config.dna, EnformerConfig)
    trunk = Enformer(small_config.dna, small_config.window_bp).train()
    positions = small_config.window_bp // small_config.dna.bp_per_position
    calls = {
        trunk.tower[0]: (torch.randn(2, 2 * positions, small_config.dna.stem_channels), None),
        trunk.transformer[0]: (torch.randn(2, positions, small_config.dna.width), trunk.positions, (0, positions)),
    }
    for block, arguments in calls.items():
        torch._dynamo.reset()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = torch._dynamo.explain(block)(*arguments)
        assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
