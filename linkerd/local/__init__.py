"""The embedded engine: a Kubernetes of one machine and one process tree."""
