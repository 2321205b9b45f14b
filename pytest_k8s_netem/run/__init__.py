"""A run: its identity, directory, event loop thread, deadlines, event log, and what cleans up after it."""
