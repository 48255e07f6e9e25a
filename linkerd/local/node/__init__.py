"""The node: runs pods as processes in namespaces and gives them a network, DNS and services."""
