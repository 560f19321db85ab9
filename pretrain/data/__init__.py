"""From video and tracks on disk to batches: augmentation, and an account of what could not be read."""
