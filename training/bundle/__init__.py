"""From a trained run to a served bundle: graphs, ONNX files, int8, manifest, card."""
