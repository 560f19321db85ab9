"""EgoVideo (Modeling Fine-Grained Hand-Object Dynamics, ICLR 2025): its towers, adapter and fusion."""
