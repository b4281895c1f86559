"""Adapters to the outside, chosen by the settings in one place (resources_for)."""
