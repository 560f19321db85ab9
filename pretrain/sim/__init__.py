"""EgoSim: egocentric clips of hands that move objects, rendered with MuJoCo, with ground truth."""
