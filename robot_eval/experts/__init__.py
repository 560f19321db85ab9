"""Experts of suites that ship none: they solve the tasks from the simulator's state."""
