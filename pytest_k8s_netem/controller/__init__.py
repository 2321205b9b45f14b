"""Brings the kernels to what the objects declare: informers, queue, reconciler, channels to agents, leases."""
