"""The alternatives that a bundle is measured against: what one would do without this toolkit."""
