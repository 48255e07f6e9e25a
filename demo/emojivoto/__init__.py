"""Emojivoto: the four programs of the demo, after BuoyantIO/emojivoto v11 (behaviour)."""
