"""The figures of a replay: every count of an :class:`~coalloc.workload.replay.Outcome` by name, and the label of each.

Tables, sweeps and pictures take their figures from here, so that a figure has one name and one meaning everywhere.
"""

from __future__ import annotations

from typing import Final

from coalloc.vm.costs import CostModel
from coalloc.workload.replay import Outcome

__all__ = ["LABELS", "design_figures"]


def design_figures(outcome: Outcome, costs: CostModel) -> dict[str, int | float | None]:
    """Return the figures of one design by name; sizes in bytes, costs in nanoseconds.

    ``estimated_cost_ns`` is an estimate from counts and prices, everything else is exact.
    """
    return {
        "pipes_created": outcome.pipes.pipes_created,
        "pipes_refused": outcome.pipes.pipes_refused,
        "pipes_small": outcome.pipes.pipes_small,
        "allocs_refused": outcome.allocs_refused,
        "map_ops": outcome.map.map_ops,
        "unmap_ops": outcome.map.unmap_ops,
        "findspace_probes": outcome.map.findspace_probes,
        "lock_acquisitions": outcome.map.lock_acquisitions,
        "tlb_shootdowns": outcome.map.tlb_shootdowns,
        "ipis": outcome.map.ipis,
        "faults": outcome.map.faults,
        "pages_freed": outcome.map.pages_freed,
        "discard_ops": outcome.map.discard_ops,
        "peak_entries": outcome.map.peak_entries,
        "cache_hits": outcome.work.cache_hits,
        "carves": outcome.work.carves,
        "coalesces": outcome.work.coalesces if outcome.space.knows_holes else None,
        "peak_live": outcome.peak_live,
        "peak_mapped": outcome.map.peak_mapped,
        "peak_resident": outcome.map.peak_resident,
        "external_fragmentation": outcome.mean_external_fragmentation,
        "resizes_in_place": outcome.pipes.resizes_in_place or outcome.space.resizes_in_place,
        "resizes_moved": outcome.pipes.resizes_moved or outcome.space.resizes_moved,
        "blocked_writes": outcome.waits.waits,
        "bytes_written": outcome.pipes.bytes_written,
        "bytes_read": outcome.pipes.bytes_read,
        "writes_without_buffer": outcome.waits.no_buffer,
        "writes_without_reader": outcome.waits.broken,
        "writes_unfinished": outcome.waits.stranded,
        "reads_at_eof": outcome.waits.at_eof,
        "reads_unfinished": outcome.waits.unread,
        "empty_reads": outcome.waits.empty,
        "sizes_refused": outcome.waits.unsized,
        "operations_skipped": outcome.waits.skipped,
        "rounds_counted": outcome.rounds_counted,
        "estimated_cost_ns": outcome.estimate(costs).ns,
    }


LABELS: Final = {
    "pipes_created": "pipes created",
    "pipes_refused": "pipes refused",
    "pipes_small": "pipes created small",
    "allocs_refused": "requests refused",
    "map_ops": "map operations",
    "unmap_ops": "unmap operations",
    "findspace_probes": "findspace probes",
    "lock_acquisitions": "map lock acquisitions",
    "tlb_shootdowns": "TLB shoot-downs",
    "ipis": "inter-processor interrupts",
    "faults": "page faults",
    "pages_freed": "pages freed",
    "discard_ops": "discard operations",
    "peak_entries": "peak map entries",
    "cache_hits": "allocs served by a cache",
    "carves": "allocs carved from holes",
    "coalesces": "free neighbours joined",
    "peak_live": "peak live bytes",
    "peak_mapped": "peak mapped bytes",
    "peak_resident": "peak resident bytes",
    "external_fragmentation": "external fragmentation, mean",
    "resizes_in_place": "resizes in place",
    "resizes_moved": "resizes moved",
    "blocked_writes": "writes that had to wait",
    "bytes_written": "bytes written",
    "bytes_read": "bytes read",
    "writes_without_buffer": "writes failed: no buffer",
    "writes_without_reader": "writes failed: no reader",
    "writes_unfinished": "writes unfinished at the end",
    "reads_at_eof": "reads at end of file",
    "reads_unfinished": "reads unfinished at the end",
    "empty_reads": "tries to read with nothing there",
    "sizes_refused": "changes of size refused",
    "operations_skipped": "operations on what was refused",
    "rounds_counted": "rounds counted, not run",
    "estimated_cost_ns": "estimated cost, ms",
}
"""The label of each figure."""
