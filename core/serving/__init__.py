"""What every model server shares: batching, served models, warm-up, Open Inference V2."""
