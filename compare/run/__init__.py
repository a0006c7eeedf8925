"""Training runs: both networks on the same batches, what they leave behind, and looking at it."""
