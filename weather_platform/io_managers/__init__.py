"""How assets are stored and handed on: the lake for tables, the registry for models."""
