"""ExecuTorch: how parts become .pte artifacts."""
