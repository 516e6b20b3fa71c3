"""Training in torch: data, base, gate, experts, and the checkpoint that they end in."""
