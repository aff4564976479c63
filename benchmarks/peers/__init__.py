"""Falx beside other model servers: the same ResNet50, the same decoder, the same number of cores."""
