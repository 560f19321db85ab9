"""Training of EgoVideo in two stages: network, losses, optimiser, loop, checkpoints, evaluation."""
