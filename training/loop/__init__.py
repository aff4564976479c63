"""The one training loop and what it is made of, whatever is trained."""
