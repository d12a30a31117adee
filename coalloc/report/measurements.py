"""Measured prices for other tools: columns of numbers for ministat(1), and the JSON of pytest-benchmark."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coalloc import __version__
from coalloc.errors import InvalidRequestError
from coalloc.vm.measuring import Measurement, quartiles

__all__ = ["benchmark_json", "write_ministat"]


def write_ministat(samples: dict[str, Sequence[float]], folder: Path) -> None:
    """Write one file for each name, with a number in nanoseconds on each line, as ministat(1) reads them.

    Raises:
        InvalidRequestError: If there is a file of the folder's name.
        OSError: If a file cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidRequestError("folder", str(folder), "is no folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, of in samples.items():
        (folder / name).write_text("".join(f"{ns:.3f}\n" for ns in of), encoding="utf-8")


def benchmark_json(measurement: Measurement) -> dict[str, Any]:
    """Return samples as pytest-benchmark saves them (``pytest-benchmark compare`` reads it); its unit is the second."""
    return {
        "machine_info": {
            "node": "",
            "machine": platform.machine(),
            "system": platform.system(),
            "release": platform.release(),
            "python_version": platform.python_version(),
            "python_implementation": platform.python_implementation(),
            "cpu": {"brand_raw": measurement.measured_on},
        },
        "commit_info": {"id": __version__, "time": None, "dirty": False},
        "benchmarks": [_benchmark(name, of) for name, of in measurement.samples.items()],
        "datetime": measurement.measured_on.rpartition(", ")[2] + "T00:00:00",
        "version": "4.0.0",
    }


def _benchmark(name: str, samples: Sequence[float]) -> dict[str, Any]:
    seconds = sorted(ns / 1e9 for ns in samples)
    first, third = quartiles(seconds)
    mean = statistics.fmean(seconds)
    return {
        "group": "coalloc costs",
        "name": name,
        "fullname": f"coalloc costs measure::{name}",
        "params": None,
        "param": None,
        "extra_info": {},
        "options": {"warmup": False},
        "stats": {
            "min": seconds[0],
            "max": seconds[-1],
            "mean": mean,
            "stddev": statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
            "rounds": len(seconds),
            "median": statistics.median(seconds),
            "iqr": third - first,
            "q1": first,
            "q3": third,
            "iqr_outliers": 0,
            "stddev_outliers": 0,
            "outliers": "0;0",
            "ld15iqr": seconds[0],
            "hd15iqr": seconds[-1],
            "ops": 1 / mean if mean else 0.0,
            "total": sum(seconds),
            "iterations": 1,
            "data": seconds,
        },
    }
