"""Frozen encoders to behaviour cloning to success rates. Run it with `python -m robot_eval`."""
