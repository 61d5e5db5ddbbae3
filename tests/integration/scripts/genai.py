"""Everything of mlflow.genai that needs no network, each answer printed with ids by their order."""

import json
import re
import warnings

import mlflow
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Feedback
from mlflow.entities.model_registry import PromptModelConfig
from mlflow.exceptions import MlflowException
from mlflow.genai import datasets, label_schemas, review_queues
from mlflow.genai.label_schemas import InputCategorical, InputText
from mlflow.genai.scorers import Guidelines, scorer
from mlflow.genai.scorers.registry import list_scorer_versions

warnings.simplefilter("ignore")
ID = re.compile(
    r"\b(?:tr-|a-|d-|dr-|m-|ls-|rq-|iss-)?(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
names: dict[str, str] = {}
said: dict[str, object] = {}


def plain(value: object) -> object:
    """A value as JSON that two stores can have in common."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return "a time" if value > 10**11 else value
    text = str(value)
    for before, after in (("experiment ", ""), (",", ",")):
        text = text.replace(f"{before}{experiment_id}{after}", f"{before}of ours{after}")
    return ID.sub(lambda found: names.setdefault(found[0], f"id {len(names)}"), text)


def tell(name: str, value: object) -> None:
    said[name] = plain(value)


def failing(work: object, *args: object, **kwargs: object) -> object:
    try:
        return work(*args, **kwargs)  # type: ignore[operator]
    except MlflowException as error:
        return f"{error.error_code}: {error.message}"


experiment_id = mlflow.set_experiment("genai").experiment_id
client = MlflowClient()


# --- prompts


def version(prompt: object) -> object:
    fields = (
        "name", "version", "template", "commit_message", "tags", "aliases", "variables", "uri",
        "is_text_prompt", "response_format", "model_config", "user_id",
    )  # fmt: skip
    return {field: getattr(prompt, field, None) for field in fields} if prompt else None


def prompts() -> None:
    genai = mlflow.genai
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    config = PromptModelConfig(provider="openai", model_name="gpt", temperature=0.5)
    registered = [
        genai.register_prompt("greet", "Hello {{ name }}", "first", {"a": "1"}),
        genai.register_prompt("greet", "Hi {{name}} of {{ town }}", tags={"b": "2"}),
        genai.register_prompt(
            "chat",
            [
                {"role": "system", "content": "Be {{ mood }}"},
                {"role": "user", "content": "{{ q }}"},
            ],
            response_format=schema,
            model_config=config,
        ),
    ]
    tell("registered", [version(prompt) for prompt in registered])
    genai.set_prompt_alias("greet", "live", 1)
    genai.set_prompt_alias("greet", "next", 2)
    genai.set_prompt_alias("greet", "live", 2)
    genai.set_prompt_tag("greet", "owner", "ann")
    genai.set_prompt_tag("greet", "gone", "x")
    genai.delete_prompt_tag("greet", "gone")
    genai.set_prompt_version_tag("greet", 1, "checked", "yes")
    genai.set_prompt_version_tag("greet", 1, "gone", "yes")
    genai.delete_prompt_version_tag("greet", 1, "gone")
    genai.set_prompt_model_config("greet", 1, {"model_name": "small", "max_tokens": 7})
    addresses = ("greet", "prompts:/greet/1", "prompts:/greet@live", "prompts:/greet@next",
                 "prompts:/greet@latest", "prompts:/chat/1", "prompts:/greet/9",
                 "prompts:/none@live")  # fmt: skip
    for address in addresses:
        found = failing(genai.load_prompt, address, cache_ttl_seconds=0)
        tell(f"loaded {address}", found if isinstance(found, str) else version(found))
    tell("allowed to miss", genai.load_prompt("none", version=1, allow_missing=True))
    genai.delete_prompt_alias("greet", "next")
    genai.delete_prompt_model_config("greet", 1)
    tell("without", version(genai.load_prompt("greet", version=1, cache_ttl_seconds=0)))
    tell("tags", genai.get_prompt_tags("greet"))
    tell("filled", genai.load_prompt("greet", version=2).format(name="Zoë", town="Köln"))
    filters = (None, "name = 'greet'", "name LIKE 'c%'", "tags.owner = 'ann'", "name = 'none'")
    for wanted in filters:
        found = genai.search_prompts(wanted)
        tell(f"prompts {wanted}", [(p.name, p.description, p.tags) for p in found])
    tell("versions", [version(p) for p in client.search_prompt_versions("greet")])
    tell("refused", [
        failing(genai.register_prompt, "with space / slash", "x"),
        failing(genai.set_prompt_alias, "greet", "latest", 1),
        failing(genai.set_prompt_alias, "greet", "live", 77),
        failing(genai.delete_prompt_alias, "greet", "none"),
        failing(client.delete_prompt, "none"),
    ])  # fmt: skip


def links() -> None:
    greet = mlflow.genai.load_prompt("greet", version=1)
    with mlflow.start_run(run_name="linking") as run:
        mlflow.genai.load_prompt("greet", version=2, cache_ttl_seconds=0)
        client.link_prompt_version_to_run(run.info.run_id, greet)
        client.link_prompt_version_to_run(run.info.run_id, greet)
    tags = client.get_run(run.info.run_id).data.tags
    linked = json.loads(tags["mlflow.linkedPrompts"])
    tell("of the run", sorted(linked, key=lambda each: each["version"]))
    model = mlflow.create_external_model(name="agent")
    client.link_prompt_version_to_model("greet", "1", model.model_id)
    tell("of the model", mlflow.get_logged_model(model.model_id).tags.get("mlflow.linkedPrompts"))

    @mlflow.trace
    def answer(name: str) -> str:
        return mlflow.genai.load_prompt("greet", version=1).format(name=name)

    answer("Ann")
    mlflow.flush_trace_async_logging()
    trace_id = mlflow.get_last_active_trace_id()
    client.link_prompt_versions_to_trace([greet], trace_id)
    tell("of the trace", mlflow.get_trace(trace_id).info.tags.get("mlflow.linkedPrompts"))
    found = client.search_traces(locations=[experiment_id], filter_string="prompt = 'greet/1'")
    tell("traces of the prompt", [trace.info.trace_id == trace_id for trace in found])
    client.delete_prompt_version("chat", "1")
    client.delete_prompt("chat")
    tell("left", [prompt.name for prompt in mlflow.genai.search_prompts()])


# --- evaluation


@scorer
def exact(outputs: str, expectations: dict[str, str]) -> bool:
    return outputs == expectations["answer"]


@scorer
def told(outputs: str) -> Feedback:
    source = AssessmentSource("CODE", "told")
    return Feedback(value=len(outputs), rationale=f"because {outputs}", source=source)


@scorer
def failing_one(outputs: str) -> bool:
    raise ValueError(f"cannot judge {outputs}")


def assessed(trace: object) -> object:
    kept = [
        (a.name, a.value, a.rationale, a.source.source_type, a.source.source_id, a.valid,
         a.error and a.error.error_code, sorted(a.metadata or {}))
        for a in trace.info.assessments
    ]  # fmt: skip
    return sorted(kept, key=str)


def evaluation() -> None:
    data = [
        {"inputs": {"q": "one"}, "expectations": {"answer": "ONE"}},
        {"inputs": {"q": "two"}, "expectations": {"answer": "two"}, "tags": {"k": "v"}},
    ]
    done = mlflow.genai.evaluate(
        data=data, predict_fn=lambda q: q.upper(), scorers=[exact, told, failing_one]
    )
    tell("metrics", done.metrics)
    run = client.get_run(done.run_id)
    tell("run", (run.info.status, run.data.metrics, run.data.params))
    tell("inputs", [(each.dataset.name, each.dataset.source_type, [t.key for t in each.tags])
                    for each in run.inputs.dataset_inputs])  # fmt: skip
    traces = mlflow.search_traces(run_id=done.run_id, return_type="list")
    rows = [
        (t.info.state, t.info.request_preview, t.info.response_preview, assessed(t),
         [(s.name, s.span_type, s.inputs, s.outputs) for s in t.data.spans])
        for t in traces
    ]  # fmt: skip
    tell("traces", sorted(rows, key=str))
    without = [{"inputs": {"q": "a"}, "outputs": "A", "expectations": {"answer": "A"}}]
    again = mlflow.genai.evaluate(data=without, scorers=[exact])
    tell("again", (again.metrics, again.result_df["exact/value"].tolist()))
    judged = mlflow.genai.evaluate(data=traces, scorers=[told])
    tell("of traces", judged.metrics)


# --- data sets


def record(one: dict[str, object]) -> object:
    kept = ("inputs", "outputs", "expectations", "tags", "source_type")
    return {key: one.get(key) for key in kept}


def data_sets() -> None:
    made = datasets.create_dataset(name="quiz", experiment_id=[experiment_id], tags={"t": "1"})
    made.merge_records([
        {"inputs": {"q": "one"}, "expectations": {"answer": "1"}},
        {"inputs": {"q": "two"}, "tags": {"hard": "yes"}},
    ])  # fmt: skip
    made.merge_records([{"inputs": {"q": "one"}, "expectations": {"other": "x"}}])
    traces = mlflow.search_traces(locations=[experiment_id], return_type="list")
    made.merge_records(sorted(traces, key=lambda trace: trace.info.request_preview)[:2])
    found = datasets.get_dataset(dataset_id=made.dataset_id)
    rows = [record(row) for row in found.to_df().to_dict("records")]
    tell("records", sorted(rows, key=str))
    tell("data set", (found.name, found.tags, found.experiment_ids == [experiment_id],
                      json.loads(found.schema), json.loads(found.profile)))  # fmt: skip
    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"u": "2", "t": "3"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="u")
    tell("by name", datasets.get_dataset(name="quiz").tags)
    for wanted in (None, "name = 'quiz'", "tags.t = '3'", "name LIKE 'x%'"):
        each = datasets.search_datasets(experiment_ids=[experiment_id], filter_string=wanted)
        tell(f"data sets {wanted}", [one.name for one in each])
    evaluated = mlflow.genai.evaluate(data=found, predict_fn=lambda q=None, **_: str(q),
                                      scorers=[told])  # fmt: skip
    tell("evaluated", evaluated.metrics)
    gone = [row for row in found.to_df().to_dict("records") if row["inputs"] == {"q": "two"}]
    tell("deleted", found.delete_records([row["dataset_record_id"] for row in gone]))
    datasets.delete_dataset(dataset_id=made.dataset_id)
    tell("gone", failing(datasets.get_dataset, dataset_id=made.dataset_id))


# --- scorers, label schemas, review queues


def scorers() -> None:
    first = Guidelines(name="kind", guidelines="Be kind", model="openai:/gpt-4o")
    first.register(name="kind")
    Guidelines(name="kind", guidelines="Be kind and true", model="openai:/gpt-4o").register()
    mlflow.genai.make_judge(
        name="judge", instructions="Is {{ outputs }} good?", model="openai:/gpt-4o"
    ).register()
    tell("scorers", sorted(one.name for one in mlflow.genai.list_scorers()))
    numbered = list_scorer_versions(name="kind")
    tell("scorer versions", [(one.guidelines, number) for one, number in numbered])
    tell("scorer", mlflow.genai.get_scorer(name="kind", version=1).model_dump())
    tell("judge", mlflow.genai.get_scorer(name="judge").instructions)
    mlflow.genai.delete_scorer(name="kind", version=1)
    mlflow.genai.delete_scorer(name="judge", version="all")
    tell("scorers left", [one.name for one in mlflow.genai.list_scorers()])
    tell("no scorer", failing(mlflow.genai.get_scorer, name="kind", version=1))


def labels() -> None:
    tell("default question", [s.name for s in label_schemas.list_label_schemas()])
    made = label_schemas.create_label_schema(
        "mood", type="feedback", input=InputCategorical(options=["good", "bad"]),
        instruction="How?", enable_comment=True,
    )  # fmt: skip
    label_schemas.update_label_schema(made.schema_id, name="temper", instruction="How so?")
    label_schemas.create_label_schema("right", type="expectation", input=InputText(max_length=9))
    tell("label schemas", sorted(
        (s.name, s.type, s.input.to_dict() if hasattr(s.input, "to_dict") else s.input,
         s.instruction, s.enable_comment) for s in label_schemas.list_label_schemas()
    ))  # fmt: skip
    queue = review_queues.create_review_queue(
        "night", queue_type="custom", schema_ids=[made.schema_id], users=["ann", "Bob"]
    )
    traces = mlflow.search_traces(locations=[experiment_id], return_type="list", max_results=2)
    ids = [trace.info.trace_id for trace in traces]
    review_queues.add_items_to_review_queue(queue.queue_id, item_ids=ids)
    review_queues.set_review_queue_item_status(
        queue.queue_id, item_id=ids[0], status="complete", completed_by="ann"
    )
    items = review_queues.list_review_queue_items(queue.queue_id)
    tell("items", sorted((item.status, item.completed_by) for item in items))
    tell("queues", [(q.name, q.queue_type, q.users) for q in review_queues.list_review_queues()])
    tell("of ann", review_queues.get_or_create_user_queue(user="ann").name)
    client.delete_traces(experiment_id, trace_ids=ids[:1])
    tell("items left", len(review_queues.list_review_queue_items(queue.queue_id)))
    review_queues.delete_review_queue(queue.queue_id)
    tell("no queue", failing(review_queues.get_review_queue, queue_id=queue.queue_id))
    label_schemas.delete_label_schema(schema_id=made.schema_id)
    tell("schemas left", sorted(s.name for s in label_schemas.list_label_schemas()))


for part in (prompts, links, evaluation, data_sets, scorers, labels):
    part()
print(json.dumps(said, default=str))
