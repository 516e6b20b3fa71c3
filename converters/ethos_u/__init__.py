"""Ethos-U: how parts become .tosa artifacts, which Vela compiles for Arm's NPUs."""
