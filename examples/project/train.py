"""Train one elastic net on the diabetes data set: the entry point of the project."""

from __future__ import annotations

import argparse

import mlflow
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split


def main() -> None:
    """Read the parameters, train, and log what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--l1-ratio", type=float, required=True)
    options = parser.parse_args()

    features, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    x_train, x_test, y_train, y_test = train_test_split(features, target, random_state=7)

    # `mlflow run` has made the run already and logged its parameters: this takes it up.
    with mlflow.start_run():
        model = ElasticNet(alpha=options.alpha, l1_ratio=options.l1_ratio, random_state=7)
        predicted = model.fit(x_train, y_train).predict(x_test)
        metrics = {
            "test_r2": float(r2_score(y_test, predicted)),
            "test_mae": float(mean_absolute_error(y_test, predicted)),
        }
        mlflow.log_metrics(metrics)
        mlflow.sklearn.log_model(model, name="model", input_example=x_train.head(3))

    print(f"alpha={options.alpha} l1_ratio={options.l1_ratio}", end="")
    print(f" test_r2={metrics['test_r2']:.4f} test_mae={metrics['test_mae']:.2f}")


if __name__ == "__main__":
    main()
