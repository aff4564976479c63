"""The OpenVINO plug-in for ONNX Runtime, and the gate that a graph must pass before it runs there."""
