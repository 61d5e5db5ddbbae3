"""What happened to the scene later: runs gone, the champion another, names and words changed."""

import sys

from mlflow import MlflowClient

client = MlflowClient(sys.argv[1], sys.argv[1])
experiment = client.get_experiment_by_name("vineyard")
for run in client.search_runs([experiment.experiment_id])[:5]:
    client.delete_run(run.info.run_id)
client.set_registered_model_alias("vintage", "champion", "1")
client.transition_model_version_stage("vintage", "1", "Production", archive_existing_versions=True)
client.update_model_version("vintage", "2", "Withdrawn.")
client.update_registered_model("vintage", "Nobody uses it any more.")
client.delete_model_version_tag("vintage", "2", "validated")
client.rename_registered_model("vintage", "vinegar")
client.rename_experiment(experiment.experiment_id, "a ruin")
client.create_experiment("another cellar")
