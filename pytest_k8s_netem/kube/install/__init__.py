"""An installation in a cluster: its objects, each right with its reason; applied, opted in to, removed."""
