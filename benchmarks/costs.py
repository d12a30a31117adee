"""Measure what mappings cost on this host, and print the prices with their sources.

    python -m benchmarks.costs

The ``measured`` preset of :data:`coalloc.vm.costs.COSTS` is one run of this, with machine and date beside it.
"""

from __future__ import annotations

import sys

from coalloc.vm.costs import measure


def main() -> int:
    """Measure and print."""
    model = measure()
    print(f"measured on {model.measured_on}")
    for event, price in model.prices.items():
        print(f"{event:18} {price.ns:10.0f} ns  {price.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
