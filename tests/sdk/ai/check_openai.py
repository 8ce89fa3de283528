"""Checks an OpenAI endpoint with the unmodified openai package.

    AQUEDUCT_AI_URL=http://127.0.0.1:8080/v1 AQUEDUCT_AI_KEY=sk-... MODEL=tiny python check_openai.py

`EMBEDDING_MODEL` names a model for embeddings; without it those checks are skipped, and said to be. With `DIRECT=1` the
URL is the model server itself, and checks of what only Aqueduct does are left out. Each check prints one line; the exit
status is 1 if any failed.
"""

import asyncio
import concurrent.futures
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request

import openai

URL = os.environ["AQUEDUCT_AI_URL"].rstrip("/")
KEY = os.environ["AQUEDUCT_AI_KEY"]
MODEL = os.environ["MODEL"]
EMBEDDING_MODEL = os.environ.get("EMBEDDING_MODEL")
EMBEDDING_URL = os.environ.get("AQUEDUCT_AI_EMBEDDING_URL", URL)
IS_DIRECT = os.environ.get("DIRECT") == "1"

MESSAGES = [{"role": "user", "content": "Grüße, 世界 🌍"}]
TOKENS = 16

client = openai.OpenAI(base_url=URL, api_key=KEY, timeout=60)
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def check_aqueduct(function):
    return function if IS_DIRECT else check(function)


def chat(**options):
    options = {"model": MODEL, "messages": MESSAGES, "max_tokens": TOKENS, **options}
    return client.chat.completions.create(**options)


def raw(path, headers, body=None):
    """Status and text of a request that the package would not send."""
    request = urllib.request.Request(URL + path, body and body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


@check
def the_model_is_listed():
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids or IS_DIRECT, ids
    assert client.models.list().object == "list"


@check_aqueduct
def one_model_is_retrieved():
    assert client.models.retrieve(MODEL).id == MODEL
    error = refused(openai.NotFoundError, lambda: client.models.retrieve("no/such model"))
    assert error.code == "model_not_found", error


@check
def a_chat_is_answered_whole():
    answer = chat()
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= TOKENS


@check
def a_stream_without_usage_has_none():
    chunks = list(chat(stream=True))
    assert all(len(chunk.choices) == 1 for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


@check
def a_stream_with_usage_ends_with_it():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert [len(chunk.choices) for chunk in chunks] == [1] * (len(chunks) - 1) + [0]
    assert chunks[-1].usage.completion_tokens <= TOKENS
    assert all(chunk.usage is None for chunk in chunks[:-1])


@check
def the_streaming_helper_collects_the_answer():
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, max_tokens=TOKENS) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        # The final completion is refused by the package where the length limit was reached.
        answer = stream.current_completion_snapshot
    assert "".join(deltas) == answer.choices[0].message.content


@check
def a_schema_is_obeyed():
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["age", "ok"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    answer = chat(response_format=form, max_tokens=300)
    if answer.choices[0].finish_reason == "stop":
        assert set(json.loads(answer.choices[0].message.content)) == {"age", "ok"}


@check
def text_is_completed():
    options = {"model": MODEL, "prompt": "Once", "max_tokens": TOKENS}
    answer = client.completions.create(**options)
    assert answer.usage.completion_tokens <= TOKENS
    chunks = list(client.completions.create(**options, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


@check
def embeddings_come_as_base64_and_as_floats():
    if not EMBEDDING_MODEL:
        return "skipped: EMBEDDING_MODEL is not set"
    embedder = openai.OpenAI(base_url=EMBEDDING_URL, api_key=KEY, timeout=60)
    options = {"model": EMBEDDING_MODEL, "input": ["one", "two"]}
    packed = embedder.embeddings.create(**options)
    plain = embedder.embeddings.create(**options, encoding_format="float")
    assert len(packed.data) == len(plain.data) == 2
    for one, other in zip(packed.data, plain.data):
        assert len(one.embedding) == len(other.embedding) > 0
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding)) < 1e-3
    assert packed.usage.prompt_tokens > 0
    return None


@check
def a_response_is_answered_whole():
    answer = client.responses.create(model=MODEL, input="Hi", max_output_tokens=TOKENS, store=False)
    assert answer.status in ("completed", "incomplete")
    assert answer.usage.output_tokens <= TOKENS


@check
def a_response_is_streamed_to_its_last_event():
    stream = client.responses.create(model=MODEL, input="Hi", max_output_tokens=TOKENS, stream=True)
    events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.usage.output_tokens <= TOKENS


@check_aqueduct
def stateful_responses_are_refused():
    for field in ({"store": True}, {"previous_response_id": "resp_1"}, {"background": True}):
        call = lambda: client.responses.create(model=MODEL, input="Hi", **field)
        assert refused(openai.BadRequestError, call).param in field
    refused(openai.InternalServerError, lambda: client.responses.retrieve("resp_1"))


@check_aqueduct
def unknown_models_are_not_found():
    error = refused(openai.NotFoundError, lambda: chat(model="no-such-model"))
    assert (error.code, error.type) == ("model_not_found", "invalid_request_error"), error.body


@check_aqueduct
def wrong_keys_are_refused():
    for key in ("sk-wrong", KEY[:-1], KEY + "x"):
        other = client.with_options(api_key=key)
        error = refused(openai.AuthenticationError, lambda: other.models.list())
        assert error.code == "invalid_api_key", error.body


@check_aqueduct
def two_keys_are_one_too_many():
    bearer = {"authorization": f"Bearer {KEY}"}
    assert raw("/models", {**bearer, "x-api-key": KEY})[0] == 400
    assert raw("/models", {"x-api-key": KEY})[0] == 200
    assert raw("/models", {"api-key": KEY})[0] == 200
    assert raw(f"/models?key={KEY}", {})[0] == 200


@check_aqueduct
def paths_that_are_not_served_say_so_at_once():
    for call in (client.files.list, client.batches.list, client.beta.assistants.list):
        start = time.monotonic()
        error = refused(openai.InternalServerError, call)
        assert error.status_code == 501, error
        assert error.response.headers["x-should-retry"] == "false"
        # The package waits half a second and more before it retries.
        assert time.monotonic() - start < 0.4


@check_aqueduct
def bodies_that_two_readers_may_read_differently_are_refused():
    for body in (
        '{"model":"%s","model":"%s","messages":[]}',
        '{"model":"%s","\\u006dodel":"%s","messages":[]}',
        '{"model":"%s","Model":"%s","messages":[]}',
        '{"model":"%s","messages":[]}{"model":"%s"}',
    ):
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        status, text = raw("/chat/completions", headers, body % (MODEL, MODEL))
        assert status == 400, text
        assert json.loads(text)["error"]["type"] == "invalid_request_error"


@check_aqueduct
def every_answer_has_a_request_id():
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, max_tokens=1
    )
    assert answer.headers["x-request-id"]
    assert answer.parse()._request_id == answer.headers["x-request-id"]
    error = refused(openai.NotFoundError, lambda: chat(model="no-such-model"))
    assert error.request_id


@check
def bodies_of_megabytes_pass():
    for size in (60_000, 70_000, 2_000_000):
        padding = "é\\\" " * (size // 5)
        assert chat(extra_body={"padding": padding}, max_tokens=1).choices


@check
def a_stream_that_is_left_harms_nothing():
    for _ in range(4):
        stream = chat(stream=True, max_tokens=700)
        for _, _chunk in zip(range(3), stream):
            pass
        stream.close()
    assert chat(max_tokens=1).choices


@check
def streams_run_beside_each_other():
    def one(_):
        return list(chat(stream=True))[-1].choices[0].finish_reason

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        reasons = list(pool.map(one, range(16)))
    assert set(reasons) <= {"stop", "length"}


@check
def the_async_client_streams():
    async def run():
        async with openai.AsyncOpenAI(base_url=URL, api_key=KEY) as other:
            stream = await other.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=TOKENS, stream=True
            )
            return [chunk async for chunk in stream]

    assert asyncio.run(run())[-1].choices[0].finish_reason in ("stop", "length")


def main():
    failed = 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            note = function()
        except Exception:
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}")
        else:
            print(f"ok      {name}" + (f" ({note})" if note else ""))
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
