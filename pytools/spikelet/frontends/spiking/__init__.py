"""Spiking networks of any framework: one form in real numbers, and its way to the integer graph.

`network` is the form, `encoders` say how values become spikes, `simulate` executes it, `lower`
makes integers of it, with `neurons`, `held` and `rounding`. A framework's folder reads its modules
or files into it.
"""
