"""weather_platform: from raw station observations to forecasts people can trust, as a Dagster asset graph."""
