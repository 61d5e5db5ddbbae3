"""Scores the whole data set in batches with a model loaded by its address."""

import json
import sys

import mlflow
import pandas as pd
from sklearn.datasets import load_wine

tracking_uri, model_uri = sys.argv[1:]
mlflow.set_tracking_uri(tracking_uri)
model = mlflow.pyfunc.load_model(model_uri)
features = load_wine(as_frame=True).data
batches = [model.predict(features[start : start + 50]) for start in range(0, len(features), 50)]
print(json.dumps(pd.concat([pd.Series(batch) for batch in batches]).tolist()))
