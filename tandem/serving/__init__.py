"""Answer requests with a bundle and a snapshot, without pandas, mlflow, scikit-learn, xgboost, polars or duckdb."""
