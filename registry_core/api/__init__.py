"""What every REST view shares: the form of errors, the public views, the schema."""
