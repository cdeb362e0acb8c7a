"""Nobody is told of a user's models: ONNX Runtime's telemetry is off before it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

PROGRAM = """
import sys
import model.onnx_backend
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {"x": __import__("numpy").zeros(1, "float32")})
"""


def files_left_at_home(folder: Path, **environment: str) -> list[str]:
    """What a session leaves in the user's home, where ONNX Runtime's telemetry keeps an id and a queue."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    constant = helper.make_tensor("one", TensorProto.FLOAT, [1], np.ones(1, dtype=np.float32))
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "g", [value], [answer], [constant])
    file = folder / "add.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)
    home = folder / "home"
    home.mkdir()
    # The runtime keeps silent by itself where it thinks that it is being tested.
    inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        env={**inherited, "PYTHONPATH": root, "HOME": str(home), **environment},
        check=True,
        timeout=120,
    )
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def test_a_session_leaves_nothing_behind(tmp_path: Path) -> None:
    assert files_left_at_home(tmp_path) == []


def test_who_wants_the_telemetry_can_have_it(tmp_path: Path) -> None:
    """And without our setting there would be something to find: the test above can fail."""
    assert any("onnxruntime" in name for name in files_left_at_home(tmp_path, ORT_DISABLE_TELEMETRY="0"))
