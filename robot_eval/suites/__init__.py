"""Simulation suites behind one interface: one file per suite, named as in a config."""
