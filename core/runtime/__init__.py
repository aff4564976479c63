"""Model bundles, the ONNX Runtime session that runs them, and sliding windows over volumes."""
