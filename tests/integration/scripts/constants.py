"""Two versions of a registered model, and a third in a folder: n predicts n, whatever the row."""

import sys
import warnings

import mlflow
import numpy as np
from mlflow.models import infer_signature
from sklearn.dummy import DummyRegressor

warnings.simplefilter("ignore")
rows = np.array([[1.0], [2.0]])


def make(constant):
    model = DummyRegressor(strategy="constant", constant=constant).fit(rows, rows[:, 0])
    signature = infer_signature([{"x": 1.0}], model.predict(rows[:1]))
    return model, {"signature": signature, "pip_requirements": ["scikit-learn"]}


for constant in (1.0, 2.0):
    model, more = make(constant)
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, name="model", registered_model_name="wine", **more)
model, more = make(3.0)
mlflow.sklearn.save_model(model, sys.argv[1], **more)
