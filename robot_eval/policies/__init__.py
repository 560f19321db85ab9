"""Policies on frozen features: one file per head or algorithm."""
