"""The user's handles (cluster, namespace, pod, impairment), written once over every provider."""
