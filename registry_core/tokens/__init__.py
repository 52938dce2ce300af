"""The registry's bearer tokens: keys, minting and verification, scopes."""
