"""What is done between a decoded image and a network, once for training and serving, and the way back."""
