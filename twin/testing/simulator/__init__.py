"""Deterministic simulation: years of many twins in minutes, everything that can go wrong, all from one seed.

Real domain, store (SQLite in memory, inline), executor, reaper and use cases; simulated time, network, servers,
processes and people. `python -m twin.testing.simulator --help` runs it.
"""

from twin.testing.simulator.setting import ALL_FAULTS, Setting
from twin.testing.simulator.simulation import Report, simulate

__all__ = ["ALL_FAULTS", "Report", "Setting", "simulate"]
