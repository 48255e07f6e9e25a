"""Questions about permissions."""

from __future__ import annotations

SUMMARY = "Ask what you, or someone else, may do"
