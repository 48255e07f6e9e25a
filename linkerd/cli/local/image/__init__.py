"""Commands for the images that the embedded cluster can run."""

SUMMARY = "List, add, import and remove the images that the local cluster can run"
