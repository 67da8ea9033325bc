"""Numbers that learn: what a weight, an activation or an error is made of, in golden and in C.

`fixed` are 16- and 32-bit integers with a scale, `float32` single floats with the device's order
of operations, `scalar` chooses between them by precision, `feature` names what a learner reads.
"""
