"""The Kubeflow wrappers are thin: a wrapper that thinks is logic that the other doors do not have."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from pipelines.stages import STAGES, Stage

ROOT = Path(__file__).parents[2]
WRAPPED = [item for item in STAGES if item.name != "fabricate"]


@pytest.mark.parametrize("stage", WRAPPED, ids=lambda item: item.name)
def test_a_wrapper_has_at_most_four_statements(stage: Stage) -> None:
    path = ROOT / "components" / stage.name / "component.py"
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [stage.name]
    statements = [node for node in functions[0].body if not isinstance(node, ast.Expr) or not _is_text(node)]
    assert len(statements) <= 4


@pytest.mark.parametrize("stage", WRAPPED, ids=lambda item: item.name)
def test_a_wrapper_takes_the_inputs_of_the_table(stage: Stage) -> None:

    wrapper = getattr(importlib.import_module(f"components.{stage.name}.component"), stage.name)
    raw = {"genome", "annotation", "expression", "sample_attributes", "truth", "families", "regions", "previous"}
    # The champion is found in the registry, whose address is a parameter.
    named = (set(stage.inputs) | set(stage.optional)) - {"champion"}
    expected = (named - raw) | ({"raw"} if named & raw else set())
    inputs = wrapper.component_spec.inputs
    assert {name for name, spec in inputs.items() if spec.type.startswith("system.")} == expected
    assert stage.output in wrapper.component_spec.outputs


def _is_text(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
