"""Containers of Docker that a test has attached: each stands in the API as a Pod, and an agent serves its network.

The agent enters the container's namespace from this machine where this process may, else as a helper container that
shares the network. What selects, proves and heals is the same as for pods.
"""
