"""What Dagster loads: `defs`, built from the environment. Nothing else belongs here."""

from weather_platform.build import build_definitions
from weather_platform.folders import keep_files_private
from weather_platform.settings import load_settings

keep_files_private()
defs = build_definitions(load_settings())
