"""What every HTTP service shares: app shell, problems, batching, Open Inference V2."""
