"""Frozen outcomes to tables and plots."""

from coalloc.report.plots import save_comparison
from coalloc.report.tables import Row, comparison_rows, design_figures, trace_figures

__all__ = ["Row", "comparison_rows", "design_figures", "save_comparison", "trace_figures"]
