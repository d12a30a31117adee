"""``coalloc patches`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_one_patch_is_shown_whole_in_80_columns(coalloc: Any) -> None:
    """Diff, figures, what the model lacks."""
    result = coalloc("patches", "a2")
    assert (result.status, result.err) == (0, "")
    assert "-findspace = 'linear'\n+findspace = 'tree'\n" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_several_are_one_table_and_pictures_are_drawn(coalloc: Any, tmp_path: Path) -> None:
    """Published beside the model; a picture for figures and loads."""
    for name in ("patches.svg", "patches.png"):
        path = tmp_path / name
        result = coalloc("patches", "A1", "A2", "A3", "--plot", str(path))
        assert result.status == 0
        assert f"wrote {path}" in result.err
        assert path.stat().st_size > 5000
    assert [line.split()[0] for line in result.out.splitlines() if line.startswith("A")] == ["A1:", "A2:", "A3:"]
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert "diamond or bar: published" in (tmp_path / "patches.svg").read_text(encoding="utf-8")


def test_json_has_everything(coalloc: Any) -> None:
    """And nothing else is printed."""
    (patch,) = json.loads(coalloc("patches", "A1", "--json").out)
    assert patch["patch"] == "A1"
    assert patch["figures"][0]["published"] == [-9, -8]
    assert patch["constants"][0]["fitted"] is False
    assert patch["diff"].startswith("--- 30 January 2004\n")


def test_constants_are_fitted_anew(coalloc: Any) -> None:
    """Those of one patch; a patch without any says so."""
    result = coalloc("patches", "A7", "--fit")
    assert result.status == 0
    assert "tokens" in result.out
    assert json.loads(coalloc("patches", "A7", "--fit", "--json").out)[0]["has"] == 31


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("A99",), "did you mean A9"),
        (("A1", "--fit"), "has nothing that was fitted"),
        (("A7", "--fit", "--plot", "x.svg"), "no meaning with --fit"),
        (("A1", "--plot", "x.pdf"), ".svg or .png"),
        (("A1", "--plot", "missing/x.svg"), "its folder does not exist"),
        (("missing.py:X",), "there is no file missing.py"),
    ],
)
def test_bad_input_is_one_line(
    coalloc: Any, arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything runs, with status 2."""
    monkeypatch.chdir(tmp_path)
    result = coalloc("patches", *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert len(result.err.splitlines()) == 1
