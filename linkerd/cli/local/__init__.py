"""Commands of the embedded cluster of one machine."""

SUMMARY = "Run a cluster on this machine, without Docker or Kubernetes"
