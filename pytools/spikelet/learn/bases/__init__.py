"""What operators that learn have in common: base classes, without a kind of their own.

`trainable` has precision and formats, `weight_step` the step of weights and biases, `window`,
`convolution`, `convolution_update` and `pooling` have taps over an image, `prototypes` and
`gaussian` have tables by class.
"""
