"""What people see in a browser: the guard in front of the user interfaces of Dagster and MLflow.

What belongs here: which requests reach those interfaces, and how each is started behind the guard. What does not: the
endpoint (``serving``), and starting and ending the processes together (``cli.servers``).
"""
