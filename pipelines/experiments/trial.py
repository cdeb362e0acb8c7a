"""One trial in a process of its own: train and evaluate what its folder's trial.json describes.

    python -m pipelines.experiments.trial FOLDER

Exit status as of `isoformer`: 0 done, 2 bad input, 75 stopped with its state saved, else a failure.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from pathlib import Path

from components.children import end_with_owner
from components.harness import EXIT_STOPPED, StepStoppedError, reason_of, run_step
from components.params import Params
from components.raw_data import find_truth

THREADS_VARIABLE = "ISOFORMER_TRIAL_THREADS"


def run_trial(folder: Path, *, threads: int) -> None:
    """Train and evaluate below `folder`; what is done already is not done again."""
    described = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    tree = Params.from_json(json.dumps(described["params"])).changed({"runtime": {"threads": threads}})
    transcripts = Path(described["transcripts"])
    work = folder / "work"
    run_step("train_model", inputs={"transcripts": transcripts}, params=tree, out=folder / "model", work=work)
    inputs = {"transcripts": transcripts, "model": folder / "model"}
    inputs |= find_truth(Path(described["data_folder"]), transcripts)
    run_step("evaluate_model", inputs=inputs, params=tree, out=folder / "evaluation", work=work)
    shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    """Entry point of a trial's process."""
    end_with_owner()
    folder = Path(sys.argv[1])
    with (folder / ".lock").open("w") as lock:
        # A trial whose runner was killed may still be saving its state.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            run_trial(folder, threads=int(os.environ.get(THREADS_VARIABLE, "1")))
        except StepStoppedError as stop:
            print(stop, file=sys.stderr, flush=True)
            return EXIT_STOPPED
        except Exception as error:
            reason = reason_of(error)
            if reason is None:
                raise
            print(reason, file=sys.stderr, flush=True)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
