"""Claim: ESM-2 on packed proteins is at least 4 times as fast as `transformers` padded, 1.3 times as length-sorted.

    python -m benchmarks.protein_tower [--size 8m|35m|150m] [--transcripts 32] [--annotation GTF]
    python -m benchmarks.protein_tower --device cuda --size 150m --transcripts 512 --batch 64

The same random weights on both sides; lengths are those of real proteins.
"""

from __future__ import annotations

from benchmarks.annotated_lengths import read_lengths
from benchmarks.side_by_side import set_up
from benchmarks.token_towers import Race, parse, peer, report
from model.encoders.rotary_encoder import RotaryEncoder
from model.presets import esm2
from model.tokenizers import esm_tokens
from tests.model.test_rotary_encoder import _from_transformers


def main() -> None:
    """Print ours and theirs side by side."""
    arguments = parse(__doc__ or "", ("8m", "35m", "150m"))
    place = set_up(arguments.device)
    config = esm2(arguments.size)
    theirs = peer(config, inner=config.feed_forward_width)
    ours = RotaryEncoder(config).eval()
    ours.load_state_dict(_from_transformers(theirs.state_dict(), config.layers))
    lengths = read_lengths(arguments.annotation).draw(arguments.transcripts)
    sequences = [
        esm_tokens(item.protein or "", max_residues=config.max_tokens - 2) for item in lengths.transcripts(None)
    ]
    race = Race(ours=ours, theirs=theirs, sequences=sequences, batch=arguments.batch, place=place)
    report(race, arguments.repeats, source=lengths.source, name=f"ESM-2 {arguments.size}", aim_on_gpu=4.0)
    print(f"largest difference of states: {race.largest_difference():.1e}")


if __name__ == "__main__":
    main()
