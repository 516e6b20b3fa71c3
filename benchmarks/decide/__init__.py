"""What follows from results for a bundle: an operating point to choose, and what images would cost on a device."""
