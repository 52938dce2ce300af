"""What every REST view shares: the form of errors, what may be asked without signing in, the schema."""
