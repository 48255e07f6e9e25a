"""Generated messages and gRPC stubs."""
