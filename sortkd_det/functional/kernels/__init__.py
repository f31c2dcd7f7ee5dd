"""Faster versions of single functions, with the same results bit for bit."""
