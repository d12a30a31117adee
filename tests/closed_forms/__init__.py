"""Simulated time against formulas: queues, saturation, scaling."""
