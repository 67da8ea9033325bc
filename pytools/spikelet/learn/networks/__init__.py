"""Networks that are trained on the device, put together of learning layers."""
