"""The project installed as users install it: what runs without extras, and what it says of those that are missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_CLI = "coalloc: error: typer is not installed; it comes with: pip install 'coalloc[cli]'"
NEEDS_PLOT = "coalloc: error: matplotlib is not installed; it comes with: pip install 'coalloc[plot]'"


class Environment:
    """A fresh virtual environment, and a folder to work in that is not the project's."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        self.folder = folder
        self.binaries = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, which knows nothing of the source tree."""
        return self._run([str(self.binaries / program), *arguments])

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the pip of the tests on this environment (to install one there takes longer than all the rest)."""
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        command += ["--python", str(self.binaries / "python"), *arguments]
        return self._run(command)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment, check=False)

    def install(self, what: str) -> None:
        """Install, or skip the test where there is nothing to install from."""
        result = self.pip("install", "--no-compile", what)
        if result.returncode and self.pip("download", "--no-deps", "--dest", "wheels", "attrs").returncode:
            pytest.skip("no package index can be reached")
        assert result.returncode == 0, result.stderr


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="there is no pip to install with")
def test_an_installation_without_extras_says_what_to_install(tmp_path: Path) -> None:
    """Without extras the library works, and what needs an extra prints one line that says how to install it."""
    environment = Environment(tmp_path)
    environment.install(str(ROOT))
    library = environment.run(
        "python", "-c", "from coalloc import *; print(CoalescingSpace(KernelMap(), kva_limit=MiB).quantum)"
    )
    assert (library.returncode, library.stdout, library.stderr) == (0, "4096\n", "")
    version = environment.run("coalloc", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    for command in (["coalloc"], ["coalloc", "compare"], ["coalloc", "--help"], ["python", "-m", "coalloc"]):
        result = environment.run(*command)
        assert (result.returncode, result.stdout, result.stderr) == (1, "", f"{NEEDS_CLI}\n"), command
    conformance = environment.run("python", "-c", "from coalloc.testing import conformance")
    assert conformance.returncode == 1
    assert conformance.stderr.splitlines()[-1] == (
        "coalloc.errors.MissingExtraError: hypothesis is not installed; it comes with: pip install 'coalloc[test]'"
    )
    environment.install("coalloc[cli]")  # as the line says
    plot = environment.run("coalloc", "compare", "--plot", "x.svg")
    assert (plot.returncode, plot.stdout, plot.stderr) == (1, "", f"{NEEDS_PLOT}\n")
    trace = environment.run("coalloc", "trace", "info")
    assert trace.stdout.startswith("GNU hello: ./configure && make -j2\n2,149 pipes")
    assert (trace.returncode, trace.stderr) == (0, "")
    assert not list(tmp_path.glob("*.svg"))
