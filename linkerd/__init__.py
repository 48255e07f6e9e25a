"""A service mesh for Kubernetes and for one machine, compatible with Linkerd."""

__version__ = "0.1.0"

#: What `linkerd version` prints and images are tagged with.
VERSION = f"v{__version__}"
