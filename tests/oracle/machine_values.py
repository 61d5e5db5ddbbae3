"""What the random calls of `test_machine.py` are made with."""

from __future__ import annotations

from hypothesis import strategies as st
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

HOSTILE = ["it's", 'say "hi"', "a`b", "%", "_", "\\", "x'; DROP TABLE runs; --", "é", "É", "名前😀"]

# Few names and keys, so that calls meet each other; any text now and then.
texts = st.one_of(st.sampled_from(["", "a", "A", "b", "0.1", *HOSTILE]), st.text(max_size=8))
_good_names, _good_keys = st.sampled_from("abcA"), st.sampled_from(["k", "l", "m/n", "é p"])
names = st.one_of(_good_names, _good_names, _good_names, texts)
keys = st.one_of(_good_keys, _good_keys, _good_keys, _good_keys, _good_keys, texts)
values = st.one_of(texts, texts, texts, st.sampled_from(["x" * 6001, "x" * 8001]))
times = st.integers(min_value=0, max_value=4)
versions = st.integers(min_value=1, max_value=4)
numbers = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.0]), st.floats(), st.integers(-3, 3))
optional_texts = st.one_of(st.none(), texts)
views = st.sampled_from([ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL])
sizes = st.sampled_from([1, 2, 5, 1000])
metrics = st.builds(
    Metric, st.sampled_from(["m", "n", "m", "n", "m", "it's"]), numbers, times, st.integers(-1, 3)
)
params, tags = st.builds(Param, keys, values), st.builds(RunTag, keys, values)
contexts = st.sampled_from([[], [InputTag("mlflow.data.context", "train")], [InputTag("k", "v")]])
sources = st.builds(Dataset, names, st.sampled_from("12"), st.just("local"), texts)
datasets = st.lists(st.builds(DatasetInput, sources, contexts), max_size=3)
stages = st.sampled_from(["None", "Staging", "Production", "Archived", "staging", "Nothing"])
aliases = st.sampled_from(["best", "next", "best", "next", "latest", "v1", "it's"])
events = st.lists(
    st.sampled_from(
        [
            WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED),
            WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED),
        ]
    ),
    min_size=1,
    max_size=2,
    unique_by=str,
)


def _literal(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _comparisons(fields: dict[str, str], kinds: dict[str, str]) -> st.SearchStrategy[str]:
    """Filters of one or two comparisons; each field is compared as a text or as a number."""
    text = st.builds(
        "{} {} {}".format,
        st.sampled_from(fields["texts"].split()),
        st.sampled_from(["=", "!=", "LIKE", "ILIKE"]),
        texts.map(_literal),
    )
    number = st.builds(
        "{} {} {}".format,
        st.sampled_from(fields["numbers"].split()),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(["0", "1", "-1", "0.5", "99999999999999"]),
    )
    one = st.one_of(text, number, *(st.just(extra) for extra in kinds.values()))
    return st.one_of(st.just(""), one, st.builds("{} AND {}".format, one, one))


run_filters = _comparisons(
    {
        "texts": "params.k tags.k tags.l run_name status user_id dataset.name dataset.context",
        "numbers": "metrics.m metrics.n start_time end_time",
    },
    {"missing": "tags.k IS NULL", "there": "params.k IS NOT NULL", "bad": "metrics.m LIKE 'x'"},
)
experiment_filters = _comparisons(
    {"texts": "name tags.k", "numbers": "creation_time last_update_time"},
    {"missing": "tags.k IS NULL", "bad": "name > 'a'"},
)
model_filters = _comparisons(
    {
        "texts": "name params.k tags.k model_type",
        "numbers": "metrics.m metrics.n creation_timestamp",
    },
    {"list": "name IN ('a', 'b')"},
)
registered_filters = _comparisons(
    {"texts": "name tags.k", "numbers": "name"},  # a number is an error there
    {"list": "name IN ('a', 'b')", "prompts": "tags.`mlflow.prompt.is_prompt` = 'true'"},
)
version_filters = _comparisons(
    {"texts": "name tags.k run_id source_path", "numbers": "version_number"},
    {"list": "run_id IN ('a', 'b')"},
)


def orders(text: str) -> st.SearchStrategy[list[str]]:
    one = st.builds("{}{}".format, st.sampled_from(text.split()), st.sampled_from(["", " DESC"]))
    return st.lists(one, max_size=3)
