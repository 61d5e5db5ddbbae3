"""A small sweep over the wine data set, from the first run to the second promoted version.

It trains two families of classifiers, registers the best as a model, promotes it, loads it back
and scores the whole data set with it; then it does the same once more with other
hyper-parameters and compares the two versions. It is an ordinary MLflow script: where its records
go is said by `MLFLOW_TRACKING_URI` alone, under which experiment by `MLFLOW_EXPERIMENT_NAME`.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlflow
import mlflow.data
import mlflow.sklearn
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from sklearn.base import ClassifierMixin

Grid = dict[str, list[dict[str, Any]]]

MODEL = "wine-classifier"
ALIAS = "champion"
SEED = 7

FIRST_SWEEP = {
    "forest": [{"n_estimators": trees, "max_depth": 2} for trees in (5, 10, 20)],
    "logistic": [{"C": strength} for strength in (0.001, 0.003, 0.01)],
}
SECOND_SWEEP = {
    "forest": [{"n_estimators": trees, "max_depth": 6} for trees in (20, 40, 80)],
    "logistic": [{"C": strength} for strength in (0.03, 0.1, 1.0)],
}


@dataclass(frozen=True)
class Data:
    """The wine data set: whole, and split into what is learnt from and what is held out."""

    whole: pd.DataFrame
    x_train: pd.DataFrame
    x_test: pd.DataFrame
    y_train: pd.Series
    y_test: pd.Series

    @classmethod
    def load(cls) -> Data:
        """Read the data set that scikit-learn ships and split it, always in the same way."""
        whole = load_wine(as_frame=True).frame
        features, target = whole.drop(columns="target"), whole["target"]
        split = train_test_split(
            features, target, test_size=0.3, stratify=target, random_state=SEED
        )
        return cls(whole, *split)

    @property
    def features(self) -> pd.DataFrame:
        """The measured columns of the whole data set."""
        return self.whole.drop(columns="target")


def build(family: str, params: dict[str, Any]) -> ClassifierMixin:
    """Make an untrained classifier."""
    if family == "forest":
        return RandomForestClassifier(random_state=SEED, **params)
    return make_pipeline(StandardScaler(), LogisticRegression(random_state=SEED, **params))


def candidates(grid: Grid) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every family with each of its settings."""
    for family, settings in grid.items():
        for params in settings:
            yield family, params


def sweep(title: str, grid: Grid, data: Data) -> tuple[Run, ClassifierMixin]:
    """Train every candidate in a run of its own below one parent run; give the best of them."""
    trained = {}
    with mlflow.start_run(run_name=title, tags={"sweep": title}) as parent:
        source = mlflow.data.from_pandas(data.whole, name="wine", targets="target")
        mlflow.log_input(source, context="sweep")
        for family, params in candidates(grid):
            name = " ".join([family, *(f"{key}={value}" for key, value in params.items())])
            with mlflow.start_run(run_name=name, nested=True, tags={"family": family}) as run:
                model = build(family, params).fit(data.x_train, data.y_train)
                odds = model.predict_proba(data.x_test)
                mlflow.log_metric("test_accuracy", accuracy_score(data.y_test, odds.argmax(axis=1)))
                mlflow.log_metric("test_log_loss", log_loss(data.y_test, odds))
            trained[run.info.run_id] = model
    [best] = mlflow.search_runs(
        filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
        order_by=["metrics.test_log_loss ASC"],
        max_results=1,
        output_format="list",
    )
    return best, trained[best.info.run_id]


def register(run: Run, model: ClassifierMixin, data: Data) -> str:
    """Log a model in the run that trained it, and as a version of `MODEL`; give its number."""
    with mlflow.start_run(run_id=run.info.run_id):
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(data.x_train, model.predict(data.x_train)),
            input_example=data.x_train.head(3),
            registered_model_name=MODEL,
            skops_trusted_types=["sklearn.tree._tree.Tree"],  # what a forest is made of
        )
    return str(logged.registered_model_version)


def promote(client: MlflowClient, version: str, words: str) -> None:
    """Take a version through the stages to production and give it the alias."""
    client.update_model_version(MODEL, version, description=words)
    client.transition_model_version_stage(MODEL, version, "Staging")
    client.set_model_version_tag(MODEL, version, "validated", "yes")
    client.transition_model_version_stage(
        MODEL, version, "Production", archive_existing_versions=True
    )
    client.set_registered_model_alias(MODEL, ALIAS, version)


def score(uri: str, data: Data) -> float:
    """Load a model by its address and give its accuracy over the whole data set."""
    predicted = mlflow.pyfunc.load_model(uri).predict(data.features)
    return float(accuracy_score(data.whole["target"], predicted))


def champion(client: MlflowClient) -> ModelVersion:
    """Give the version that bears the alias now."""
    return client.get_model_version_by_alias(MODEL, ALIAS)


def play_round(client: MlflowClient, title: str, grid: Grid, data: Data) -> str:
    """Sweep, register the best, promote it, and score by alias; give the version's number."""
    winner, model = sweep(title, grid, data)
    loss = winner.data.metrics["test_log_loss"]
    print(f"\n{title}: best of {sum(map(len, grid.values()))} is '{winner.info.run_name}'", end="")
    print(f" (test_log_loss {loss:.4f})")

    version = register(winner, model, data)
    promote(client, version, f"The best of the {title}.")
    now = champion(client)
    print(f"  registered as {MODEL} version {now.version}, stage {now.current_stage}", end="")
    print(f", alias '{ALIAS}'")

    accuracy = score(f"models:/{MODEL}@{ALIAS}", data)
    print(f"  models:/{MODEL}@{ALIAS} gets {accuracy:.4f} of {len(data.whole)} rows right")
    return version


def compare(client: MlflowClient, versions: list[str], data: Data) -> None:
    """Score several versions on the whole data set, each by its number."""
    print("\nversion  stage       alias      accuracy")
    for number in versions:
        version = client.get_model_version(MODEL, number)
        accuracy = score(f"models:/{MODEL}/{number}", data)
        alias = ",".join(version.aliases) or "-"
        print(f"{number:<7}  {version.current_stage:<10}  {alias:<9}  {accuracy:>8.4f}")


def leaderboard() -> None:
    """Print every run of the sweeps, the best first."""
    runs = mlflow.search_runs(
        filter_string="tags.family != ''",
        order_by=["metrics.test_log_loss ASC", "metrics.test_accuracy DESC"],
        output_format="list",
    )
    print("\nleaderboard (search_runs)")
    print(f"{'run':<36}  {'test_log_loss':>13}  {'test_accuracy':>13}")
    for run in runs:
        metrics = run.data.metrics
        print(f"{run.info.run_name:<36}  {metrics['test_log_loss']:>13.4f}", end="")
        print(f"  {metrics['test_accuracy']:>13.4f}")


def hush() -> None:
    """Silence four remarks that are known and change nothing; all else is shown."""
    # Stages are deprecated in MLflow and still how many registries are run.
    warnings.filterwarnings("ignore", message=".*transition_model_version_stage")
    # The target is a class number: it is never missing.
    warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer")
    # MLflow's autologging calls scikit-learn's log_loss by an argument's former name.
    warnings.filterwarnings("ignore", message="`y_pred` was renamed", category=FutureWarning)
    # An environment made by uv has no pip whose version a model could ask for.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)


def main() -> None:
    """Play both rounds."""
    hush()
    mlflow.sklearn.autolog(log_models=False)  # of each sweep the best model alone is kept
    client = MlflowClient()
    data = Data.load()
    print(f"wine: {len(data.whole)} rows, {data.features.shape[1]} columns, 3 classes")

    first = play_round(client, "first sweep", FIRST_SWEEP, data)
    second = play_round(client, "second sweep", SECOND_SWEEP, data)
    compare(client, [first, second], data)
    leaderboard()


if __name__ == "__main__":
    main()
