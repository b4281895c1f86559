"""Tests mirror the package; they talk to real parts at small scale."""
