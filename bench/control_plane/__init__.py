"""What the control plane costs: `make bench-control`; the method is in bench/README.md."""
