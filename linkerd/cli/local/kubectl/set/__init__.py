"""Changes of a workload's containers."""

from __future__ import annotations

SUMMARY = "Change images or variables of a workload's containers"
