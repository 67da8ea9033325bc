"""Spiking networks of any framework: one form in real numbers, and its way to the integer graph.

`network` is the form, `simulate` executes it, `lower` makes integers of it, with `neurons` and
`held`. A framework's folder reads its modules or files into it.
"""
