"""What a target's kernel is made to hold: netlink messages, filter programs, sinks of both engines."""
