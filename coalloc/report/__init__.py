"""Frozen outcomes to tables and plots."""

from coalloc.report.plots import save_comparison
from coalloc.report.tables import Row, comparison_rows, design_figures, life_table, states_table, trace_figures

__all__ = ["Row", "comparison_rows", "design_figures", "life_table", "save_comparison", "states_table", "trace_figures"]
