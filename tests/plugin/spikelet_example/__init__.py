"""A plug-in: modules hold operators and learners, `firmware/` their kernels, `boards/` boards."""
