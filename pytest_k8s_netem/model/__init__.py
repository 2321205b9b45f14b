"""What travels between test process, controller and agent: frozen values, no I/O, standard library only.

Units everywhere: time in ns, rates in bit/s, shares as ratios 0..1, sizes in bytes.
"""
