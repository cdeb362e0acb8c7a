"""`isoformer`: the command line. Each sub-command is imported only when it is called by name."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from pipelines.commands.options import plain_app
from pipelines.stages import STAGES

# name: (module, line in the help)
_COMMANDS: dict[str, tuple[str, str]] = {
    **{item.command: ("pipelines.commands.steps", item.summary) for item in STAGES},
    "fetch-data": ("pipelines.commands.fetch_data", "Download the official genome, annotation and expression files."),
    "explain": ("pipelines.commands.explain", "Which letters of one transcript its prediction hangs on."),
    "seeds": ("pipelines.commands.seeds", "Mean and deviation of the figures of several seeds' evaluations."),
    "export-fasta": ("pipelines.commands.export_fasta", "Extracted transcripts as FASTA: RNA, CDS, protein."),
    "params": ("pipelines.commands.params", "Show what params.yaml, a preset and --set resolve to."),
    "pipeline": ("pipelines.commands.pipeline", "Compile the Kubeflow pipeline, or run it on this machine."),
    "serve": ("pipelines.commands.serve", "Serve a model of the registry: the champion, if not told otherwise."),
    "registry": ("pipelines.commands.registry", "Versions of models, and who is champion."),
    "keys": ("pipelines.commands.keys", "Make the keys by which packaged models are signed."),
    "pretrain-language": ("pipelines.commands.pretrain", "Pre-train a token encoder on a FASTA file."),
    "pretrain-tracks": ("pipelines.commands.pretrain", "Pre-train the Enformer on tracks along a genome."),
    "experiments": ("pipelines.commands.experiments", "The paper's experiments: run a suite, report its tables."),
    "demo": ("pipelines.commands.demo", "The whole way, on simulated data or on your own files."),
}


class _LazyGroup(TyperGroup):
    """A group that knows its commands by name and imports one when it is asked for it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Names alone: enough for the list and for "did you mean".
        self.commands = dict.fromkeys(_COMMANDS)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        return typer.main.get_command(module.build(cmd_name))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


app = plain_app(
    "IsoFormer from raw data to a served model. Bad input ends with one clear line and exit status 2.", cls=_LazyGroup
)


def main() -> None:
    """Run `isoformer`; exits 2 on what a user can mend, 75 where a step was stopped, else with a traceback."""
    _forget_current_folder()
    try:
        app()
    except Exception as error:
        from components.harness import EXIT_STOPPED, StepStoppedError, reason_of

        if isinstance(error, StepStoppedError):
            print(f"isoformer: {error}", file=sys.stderr)
            sys.exit(EXIT_STOPPED)
        reason = reason_of(error)
        if reason is None:
            raise
        print(f"isoformer: {reason}", file=sys.stderr)
        sys.exit(2)


def _forget_current_folder() -> None:
    """Keep a model.py that lies in the current folder from being imported, here and in every child."""
    os.environ["PYTHONSAFEPATH"] = "1"
    home = Path(__file__).resolve().parent.parent
    here = Path.cwd()
    if here != home:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).absolute() != here]


if __name__ == "__main__":
    main()
