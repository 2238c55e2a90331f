"""Where sessions live: `base` has the protocol; each other module is one store."""
