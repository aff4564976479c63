"""Model bundles and the ONNX Runtime session that runs them."""
