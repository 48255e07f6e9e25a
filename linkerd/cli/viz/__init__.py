"""Commands of the viz extension."""

SUMMARY = "viz manages the linkerd-viz extension of Linkerd service mesh."
