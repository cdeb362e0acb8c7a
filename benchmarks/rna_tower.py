"""Claim: Nucleotide Transformer v2 on packed RNA is at least 4 times as fast as a padded `EsmModel` of equal size,
and 1.3 times as fast as a length-sorted one.

    python -m benchmarks.rna_tower [--size 50m|250m] [--transcripts 32] [--annotation GTF]
    python -m benchmarks.rna_tower --device cuda --size 250m --transcripts 512 --batch 64

`transformers` has no Nucleotide Transformer v2; the peer has its layers, width and heads, and a plain feed-forward of
as many parameters as the gated one.
"""

from __future__ import annotations

from benchmarks.annotated_lengths import read_lengths
from benchmarks.side_by_side import set_up
from benchmarks.token_towers import Race, parse, peer, report
from model.encoders.rotary_encoder import RotaryEncoder
from model.presets import nucleotide_transformer
from model.tokenizers import crop_rna, sixmer_tokens


def main() -> None:
    """Print ours and theirs side by side."""
    arguments = parse(__doc__ or "", ("50m", "100m", "250m"))
    place = set_up(arguments.device)
    config = nucleotide_transformer(arguments.size)
    theirs = peer(config, inner=config.feed_forward_width * 3 // 2)
    ours = RotaryEncoder(config).eval()
    lengths = read_lengths(arguments.annotation).draw(arguments.transcripts)
    sequences = [sixmer_tokens(crop_rna(item.rna or "", config.max_tokens)) for item in lengths.transcripts(None)]
    sizes = [sum(p.numel() for p in module.parameters()) for module in (ours, theirs)]
    print(f"parameters: ours {sizes[0]:,}, theirs {sizes[1]:,}")
    race = Race(ours=ours, theirs=theirs, sequences=sequences, batch=arguments.batch, place=place)
    report(race, arguments.repeats, source=lengths.source, name=f"NT-v2 {arguments.size}", aim_on_gpu=3.0)


if __name__ == "__main__":
    main()
