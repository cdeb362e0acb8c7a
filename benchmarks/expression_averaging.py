"""Claim: a gzipped GCT of full width (17,382 samples) is averaged per tissue in at most 3 times (aim: 2 times) the wall
time of `zcat > /dev/null`, in memory that does not grow with its rows and stays below 2 GB.

    python -m benchmarks.expression_averaging [--gigabytes 0.1 0.3] [--times 2] [--pandas-gigabytes 0.1]

For the record: --gigabytes 0.5 2.0 --pandas-gigabytes 0.5. Gigabytes are of text. Values are FABRICATED, distributed
as those of the 17 HK1 transcripts of GTEx v8. pandas reads the table in pieces of 100 rows and groups its columns.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import best_in_turn, measure
from benchmarks.wide_table import SAMPLES, WideTable, fabricate

_LIMIT_RATIO, _AIM_RATIO, _LIMIT_MB = 3.0, 2.0, 2_000
_OURS = (
    "import sys; from pathlib import Path; import numpy as np; "
    "from components.extract_sequences.expression import read_expression; "
    "from components.extract_sequences.samples import read_sample_tissues; "
    "table, attributes, out = map(Path, sys.argv[1:4]); "
    "np.save(out, read_expression(table, read_sample_tissues(attributes)).mean_tpm)"
)
_PANDAS = (
    "import sys; import numpy as np; import pandas as pd; "
    "tissue = pd.read_csv(sys.argv[2], sep='\\t').set_index('SAMPID')['SMTS']; "
    "pieces = pd.read_csv(sys.argv[1], sep='\\t', skiprows=2, index_col=[0, 1], chunksize=100); "
    "means = [piece.T.groupby(tissue).mean().T for piece in pieces]; "
    "np.save(sys.argv[3], pd.concat(means).to_numpy())"
)


def python_command(program: str, table: WideTable, out: Path) -> list[str]:
    """One side that is a Python program."""
    return [sys.executable, "-c", program, str(table.table), str(table.attributes), str(out)]


def main() -> None:
    """Compare at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--pandas-gigabytes", type=float, default=0.1, help="pandas gets no larger table than this")
    parser.add_argument("--times", type=int, default=2)
    arguments = parser.parse_args()
    print(f"FABRICATED tables, {SAMPLES:,} samples. The quickest of several runs.")
    holds = True
    peaks: list[float] = []
    with tempfile.TemporaryDirectory(prefix="isoformer-averaging-") as folder:
        for gigabytes in arguments.gigabytes:
            table = fabricate(Path(folder), gigabytes)
            decompress = ["bash", "-c", f"zcat {shlex.quote(str(table.table))} > /dev/null"]
            average = python_command(_OURS, table, Path(folder) / "ours.npy")
            zcat, ours = best_in_turn(arguments.times, decompress, average)
            peaks.append(ours.peak_mb)
            ratio = ours.wall_s / zcat.wall_s
            print(f"{table.rows:,} rows, {table.text_bytes / 1e9:.2f} GB of text")
            print(f"  ours    {ours}")
            print(f"  zcat    {zcat}")
            print(f"  wall ratio {ratio:.2f} (limit {_LIMIT_RATIO}, aim {_AIM_RATIO}), limit {_LIMIT_MB:,} MB")
            holds &= ratio <= _LIMIT_RATIO and ours.peak_mb <= _LIMIT_MB
            if gigabytes <= arguments.pandas_gigabytes:
                peer = measure(python_command(_PANDAS, table, Path(folder) / "pandas.npy"))
                equal = np.allclose(np.load(Path(folder) / "ours.npy"), np.load(Path(folder) / "pandas.npy"), rtol=1e-9)
                print(f"  pandas  {peer}")
                print(f"  pandas takes {peer.wall_s / ours.wall_s:.1f} times as long; means equal: {equal}")
                holds &= bool(equal)
            table.table.unlink()
    growth = (peaks[-1] - peaks[0]) / max(arguments.gigabytes[-1] - arguments.gigabytes[0], 1e-9)
    print(f"memory grows by {growth:,.0f} MB per GB of text")
    print(f"the claim {'holds' if holds else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
