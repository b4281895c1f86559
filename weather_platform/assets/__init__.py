"""Software-defined assets: load, one call into the domain, a result with metadata. No rules live here."""
