"""All that runs beside the traffic: keeper, relay, engines, probes.

Standard library only; shipped as it is, started as a program of its own and never imported by other rooms.
"""
