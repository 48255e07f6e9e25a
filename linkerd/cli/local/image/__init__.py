"""Commands for the images that the embedded cluster can run."""

SUMMARY = "List and add the images that the local cluster can run"
