"""Packets that prove a path: sent by a short-lived child in the target's namespace, never seen by an application."""
