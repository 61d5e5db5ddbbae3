"""Registers scorers as MLflow's documentation does, reads them back, and prints what it reads."""

import json

import mlflow
from mlflow.genai import scorers
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import RelevanceToQuery, registry

mlflow.set_experiment("judged")
for instructions in ("Is {{ outputs }} kind?", "Is {{ outputs }} kind and true?"):
    judge = make_judge(name="kind", instructions=instructions, model="openai:/gpt-4o")
    judge.register(name="kind")
RelevanceToQuery().register(name="relevant")

versions = registry.list_scorer_versions(name="kind")
first = scorers.get_scorer(name="kind", version=1)
scorers.delete_scorer(name="relevant", version="all")
said = {
    "all": [scorer.name for scorer in scorers.list_scorers()],
    "versions": [number for _, number in versions],
    "first": first.instructions,
    "latest": scorers.get_scorer(name="kind").instructions,
}
print(json.dumps(said))
