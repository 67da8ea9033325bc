"""Continual learning as an experiment: streams of samples, the protocol, metrics, baselines."""
