"""Egocentric video to hand-object-dynamics narrations to EgoVideo. The pipeline follows in its own releases."""
