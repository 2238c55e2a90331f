"""One wheel holds the package, both adapters and the demo, typed, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(kind: str, folder: Path) -> Path:
    """Build without isolation, so that nothing is fetched."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_both_adapters(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ductape_asgi", "ductape_fastapi", "ductape_litestar", "ductape_asgi-0.1.0.dist-info"}


@pytest.mark.parametrize("package", ["ductape_asgi", "ductape_fastapi", "ductape_litestar"])
def test_each_package_says_that_it_is_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import sys; sys.path.insert(0, '.'); import ductape_asgi, ductape_fastapi; print(ductape_asgi.__file__)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(answer.stdout.strip()).parent == tmp_path / "ductape_asgi"


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ductape_asgi").rglob("*.py")}
    assert modules <= names


def test_the_wheel_holds_what_the_pages_are_made_of(wheel: Path) -> None:
    folder = ROOT / "ductape_asgi" / "pages"
    files = {path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.suffix in (".html", ".css", ".js")}
    assert len(files) >= 6
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_demo_that_the_command_serves(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    demo = ROOT / "examples" / "demo"
    files = [path for path in demo.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {f"ductape_asgi/demo/{path.relative_to(demo).as_posix()}" for path in files} <= names
    assert not [name for name in names if "__pycache__" in name or ".ductape-demo" in name]


def test_the_sdist_holds_what_a_rebuild_and_the_tests_need(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt", "tests/test_packaging.py"}
    assert needed | {"examples/demo/app.py", "integrations/ductape_litestar/__init__.py"} <= names


def test_the_extras_are_the_ones_that_the_readme_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"fastapi", "litestar", "redis", "postgres", "client", "cli", "pages", "demo", "dev"} <= set(extras)


def test_constraints_pin_versions_and_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text().split("\n")
    assert all(line.count("==") == 1 for line in lines if line)
    assert not [line for line in lines if "/" in line or "@" in line]
