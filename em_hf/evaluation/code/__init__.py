"""Sandboxed execution and grading of programs that a model wrote."""
