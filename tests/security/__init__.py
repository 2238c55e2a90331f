"""Attacks on tokens, keys, transport and cache.  The ids of the tests are those of the security notes' recipes."""
