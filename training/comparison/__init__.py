"""The networks of the paper under one budget, side by side."""
