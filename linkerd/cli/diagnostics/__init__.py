"""Commands that look into a running mesh."""

SUMMARY = "Commands used to diagnose Linkerd components"
