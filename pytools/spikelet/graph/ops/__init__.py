"""One operator a file: attributes, shapes, golden meaning, interval, cost, C call."""
