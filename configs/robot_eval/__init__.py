"""Hydra configs of `robot_eval`, shipped inside the wheel."""
