"""The perceptron that tells what a slice can be taken for: its pictures, its weights and its figures."""
