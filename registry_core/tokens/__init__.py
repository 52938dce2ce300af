"""The registry's bearer tokens: keys, minting and verifying, scopes, and the endpoint that gives them out."""
