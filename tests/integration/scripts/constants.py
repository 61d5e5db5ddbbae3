"""Two versions of a registered model: version n predicts n, whatever the row."""

import warnings

import mlflow
import numpy as np
from mlflow.models import infer_signature
from sklearn.dummy import DummyRegressor

warnings.simplefilter("ignore")
rows = np.array([[1.0], [2.0]])
for constant in (1.0, 2.0):
    model = DummyRegressor(strategy="constant", constant=constant).fit(rows, rows[:, 0])
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature([{"x": 1.0}], model.predict(rows[:1])),
            registered_model_name="wine",
            pip_requirements=["scikit-learn"],
        )
