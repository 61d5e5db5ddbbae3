"""What the UI's pages of traces are shown with: sessions, feedback, an evaluation, prompts."""

import contextlib
import json
import sys

import mlflow
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource
from mlflow.genai.scorers import scorer

uri = sys.argv[1]
mlflow.set_tracking_uri(uri)
experiment_id = mlflow.set_experiment("tasting").experiment_id

for text in ("Taste {{wine}}.", "Taste {{wine}}, then say {{words}} words."):
    made = mlflow.genai.register_prompt("tasting-note", text, commit_message="said better")
mlflow.genai.set_prompt_alias("tasting-note", "champion", made.version)


@mlflow.trace(span_type="RETRIEVER")
def cellar(wine):
    return [{"page_content": f"{wine} lies in the third row", "metadata": {"row": 3}}]


@mlflow.trace(span_type="CHAIN")
def taste(wine, session=None):
    if session:
        mlflow.update_current_trace(
            metadata={"mlflow.trace.session": session, "mlflow.trace.user": "taster"},
            tags={"colour": "red"},
        )
    cellar(wine)
    prompt = mlflow.genai.load_prompt("prompts:/tasting-note@champion")
    with mlflow.start_span("model", span_type="LLM") as span:
        span.set_inputs({"prompt": prompt.format(wine=wine, words=3)})
        span.set_attribute(
            "mlflow.chat.tokenUsage",
            {"input_tokens": 20, "output_tokens": 7, "total_tokens": 27},
        )
        span.set_outputs(f"{wine} tastes of cherries")
    if wine == "vinegar":
        raise ValueError("this is no wine")
    return f"{wine} tastes of cherries"


for number in range(6):
    taste(f"merlot {number}", session=f"evening-{number % 2}")
with contextlib.suppress(ValueError):
    taste("vinegar")
mlflow.flush_trace_async_logging()
traces = mlflow.search_traces(return_type="list")
human = AssessmentSource(source_type="HUMAN", source_id="taster")
for trace in traces[1:4]:
    mlflow.log_feedback(
        trace_id=trace.info.trace_id, name="good", value=True, rationale="round", source=human
    )
    mlflow.log_expectation(trace_id=trace.info.trace_id, name="expected", value="cherries")


@scorer
def names_cherries(outputs) -> bool:
    return "cherries" in outputs


result = mlflow.genai.evaluate(
    data=[
        {"inputs": {"wine": "syrah"}, "expectations": {"expected": "pepper"}},
        {"inputs": {"wine": "pinot"}, "expectations": {"expected": "cherries"}},
    ],
    predict_fn=taste,
    scorers=[names_cherries],
)

client = MlflowClient()
for number in range(2):
    with mlflow.start_run(run_name=f"press {number}") as run:
        model = client.create_logged_model(
            experiment_id, name=f"taster-{number}", source_run_id=run.info.run_id,
            params={"depth": str(number)}, tags={"grape": "merlot"},
        )  # fmt: skip
        client.finalize_logged_model(model.model_id, "READY")
        mlflow.log_metric("loss", 0.5 / (number + 1), model_id=model.model_id)
mlflow.flush_trace_async_logging()
print(
    json.dumps(
        {
            "experiment_id": experiment_id,
            "trace_id": traces[1].info.trace_id,
            "run_id": result.run_id,
            "model_id": model.model_id,
        }
    )
)
