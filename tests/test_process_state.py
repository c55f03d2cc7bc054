"""What the package remembers for the life of its process can be forgotten with one call."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from airflow_provider_mqs import process_state
from airflow_provider_mqs.core.client.token_cache import slot_for

PACKAGE = Path(process_state.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "process_state.py")
CONTAINERS = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict", "WeakSet"}
CONTAINERS |= {"WeakKeyDictionary", "WeakValueDictionary"}


def containers(module: Path) -> dict[str, ast.expr]:
    """Find what a module assigns to a variable, as opposed to a constant, at its top level."""
    assigned: dict[str, ast.expr] = {}
    for node in ast.parse(module.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                assigned[target.id] = node.value
    return {name: value for name, value in assigned.items() if name.islower() and name != "__all__"}


def is_container(value: ast.expr) -> bool:
    called = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    return called in CONTAINERS or isinstance(value, ast.Dict | ast.List | ast.Set)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_keeps_state_that_reset_does_not_reach(module: Path) -> None:
    """A container at the top of a module is a constant, or wrapped in ``process_wide``."""
    assert [name for name, value in containers(module).items() if is_container(value)] == []


def test_every_module_with_state_is_in_the_list() -> None:
    """The module's docstring names each of them, and no other."""
    keeping = {
        module.relative_to(PACKAGE).with_suffix("").as_posix()
        for module in MODULES
        if any("process_wide" in ast.dump(value) for value in containers(module).values())
    }
    listed = {line.split("``")[1] for line in str(process_state.__doc__).splitlines() if line.startswith("``")}

    assert listed == keeping


def test_reset_empties_every_container() -> None:
    """The next caller finds what a new process would."""
    before = slot_for("somebody")

    process_state.reset()

    assert slot_for("somebody") is not before
