"""The embedded cluster: a node host that holds anonymous namespaces, a kubelet for it, pods as processes."""
