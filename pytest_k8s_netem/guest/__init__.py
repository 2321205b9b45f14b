"""Runs the same pytest command inside a user-mode-linux guest, whose kernel has sch_netem."""
