"""Masking on every supported Airflow; stand-ins play the modules that the installed one lacks."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from airflow_provider_mqs import _compat

if TYPE_CHECKING:
    from collections.abc import Iterable

NEW = "airflow.sdk.log"
MIDDLE = "airflow.sdk.execution_time.secrets_masker"
OLD = "airflow.utils.log.secrets_masker"


@pytest.fixture
def airflow_with(monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that makes an Airflow with only these names, and records what is masked and by which module."""
    masked: list[tuple[str, str]] = []

    def make(names: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        for module in (NEW, MIDDLE, OLD):
            has = [name for owner, name in names if owner == module]
            stand_in = ModuleType(module) if has else None
            for name in has:
                setattr(stand_in, name, _masker(module, name, masked))
            monkeypatch.setitem(sys.modules, module, stand_in)
        return masked

    return make


def _masker(module: str, name: str, masked: list[tuple[str, str]]) -> object:
    def mask(secret: str) -> None:
        masked.append((f"{module}.{name}", secret))

    async def amask(secret: str) -> None:
        mask(secret)

    return amask if name == "amask_secret" else mask


SERIES = [
    pytest.param(
        [(NEW, "mask_secret"), (NEW, "amask_secret"), (MIDDLE, "mask_secret")], NEW, f"{NEW}.amask_secret", id="3.3"
    ),
    pytest.param([(NEW, "mask_secret"), (MIDDLE, "mask_secret")], NEW, f"{NEW}.mask_secret", id="3.1"),
    pytest.param([(NEW, "configure"), (MIDDLE, "mask_secret")], MIDDLE, f"{MIDDLE}.mask_secret", id="3.0"),
    pytest.param([(OLD, "mask_secret")], OLD, f"{OLD}.mask_secret", id="2.11"),
]


@pytest.mark.parametrize(("names", "module", "used"), SERIES)
async def test_masks_with_what_the_series_has(airflow_with: object, names: object, module: str, used: str) -> None:
    """The masker moved between series; the old, deprecated names are not touched if the new one exists."""
    masked = airflow_with(names)  # type: ignore[operator]  # a fixture that is a function
    _compat.mask_secret("one")
    await _compat.amask_secret("two")
    assert masked == [(f"{module}.mask_secret", "one"), (used, "two")]


async def test_masks_on_this_airflow(capsys: pytest.CaptureFixture[str]) -> None:
    """On the installed series, masking works and raises no deprecation warning."""
    _compat.mask_secret("a-very-secret-value")
    await _compat.amask_secret("another-secret-value")
    assert "Deprecat" not in capsys.readouterr().err
