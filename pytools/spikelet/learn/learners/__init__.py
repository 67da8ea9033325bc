"""Learners: one a file, with its operators."""
