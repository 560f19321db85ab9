"""The Hydra configs of `pretrain`'s commands."""
