"""Egocentric video to hand-object-dynamics narrations to EgoVideo: the place of the training pipeline."""
