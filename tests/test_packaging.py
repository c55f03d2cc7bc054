"""What is delivered: the version, the entry points, the contents of wheel and sdist."""

from __future__ import annotations

import re
import tarfile
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling import build

import airflow_provider_mqs
from airflow_provider_mqs.get_provider_info import get_provider_info

ROOT = Path(__file__).resolve().parent.parent
NAME = "airflow-provider-mqs"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the wheel and list what is in it."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return ZipFile(folder / build.build_wheel(str(folder))).namelist()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the sdist and list what is in it, without the folder that it unpacks to."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        with tarfile.open(folder / build.build_sdist(str(folder))) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}


def test_version_is_the_changelogs() -> None:
    """The version of the package is the newest heading of the changelog."""
    headings = re.findall(r"^## \[?([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == airflow_provider_mqs.__version__


def test_installed_version_is_the_packages() -> None:
    """Airflow shows the version of the distribution, which is that of the package."""
    assert distribution(NAME).version == airflow_provider_mqs.__version__


def test_airflow_finds_the_provider() -> None:
    """Airflow refuses a provider whose metadata name another distribution."""
    [entry] = distribution(NAME).entry_points.select(group="apache_airflow_provider")
    assert entry.load() is get_provider_info
    assert get_provider_info()["package-name"] == distribution(NAME).metadata["Name"]


def test_every_entry_point_can_be_loaded() -> None:
    """No entry point names something that does not exist."""
    assert all(entry.load() for entry in distribution(NAME).entry_points)


def test_wheel_is_typed(wheel: list[str]) -> None:
    """Type checkers believe only a package that carries the marker."""
    assert "airflow_provider_mqs/py.typed" in wheel


def test_wheel_holds_every_module(wheel: list[str]) -> None:
    """Every module of the source tree is delivered."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "airflow_provider_mqs").rglob("*.py")}
    assert modules <= set(wheel)


def test_wheel_holds_nothing_else(wheel: list[str]) -> None:
    """Tests, scripts and example DAGs would land in everybody's site-packages."""
    assert {name.split("/")[0].partition("-")[0] for name in wheel} == {"airflow_provider_mqs"}


def test_sdist_holds_what_its_own_tests_need(sdist: set[str]) -> None:
    """Who packages it for a distribution runs the suite from there; CI does, too."""
    folders = ("airflow_provider_mqs", "benchmarks", "docs", "example_dags", "scripts", "simulation", "tests", ".ci")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    paths += [*ROOT.glob("*.md"), *ROOT.glob("*.txt"), ROOT / "Makefile", ROOT / "noxfile.py", ROOT / "pyproject.toml"]

    assert {path.relative_to(ROOT).as_posix() for path in paths if path.is_file()} - sdist == set()
