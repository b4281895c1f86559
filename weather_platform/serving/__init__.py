"""The endpoint: what the graph promoted, answered over HTTP.

What belongs here: the HTTP contract, the application, who may ask, which model answers, what is written down about it.
What does not: features and models (``domain``), anything that needs Dagster. A worker never imports Dagster or MLflow.
"""
