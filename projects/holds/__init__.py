"""Legal holds: artifacts that nothing deletes until the hold is released."""
