"""Declared state: one asynchronous protocol, kept by a memory store and by a real Kubernetes API server."""
