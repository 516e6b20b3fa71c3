"""LiteRT: how parts become .tflite artifacts."""
