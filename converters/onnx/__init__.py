"""ONNX Runtime: how parts become .onnx artifacts."""
