"""What the platform knows, free of any framework: no dagster, mlflow, sqlalchemy, network or disk in here."""
