"""openai: every cell of the README's matrix of parameters and lanes, as requests arrive at the provider.

The table is read from the README, which a Rust test holds to what the code does; here the `openai` package sends what each row
names over each lane. What is passed or mapped is in the provider's request; what is dropped leaves that request as it is
without it, byte for byte, and is named in the answer; what is refused names itself, and nothing is sent.
"""

import base64
import functools
import inspect
import json
import os
import pathlib

import openai

import bed
from bed import through_aqueduct
from taped import TapedCase, mock

README = pathlib.Path(__file__).resolve().parents[3] / "README.md"
ADDRESS = os.environ.get("AQUEDUCT_AI_URL")
SAYS = "So says the matrix."
MODELS = {"Anthropic": "claude-sonnet-4-5", "Google": "gemini-2.5-flash", "Bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "matrix_tool", "description": "Tells.", "parameters": SCHEMA}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()

# A value of each parameter that says more than its absence.
VALUES = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "matrix_function", "parameters": SCHEMA}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 4321,
    "max_tokens": 4321,
    "metadata": {"team": "matrix"},
    "modalities": ["text", "audio"],
    "moderation": {"mode": "auto"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "So says"},
    "presence_penalty": 0.25,
    "prompt_cache_key": "matrix",
    "prompt_cache_options": {"mode": "auto"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
    "safety_identifier": "somebody",
    "seed": 77,
    "service_tier": "default",
    "stop": ["never", "ever"],
    "store": True,
    "temperature": 0.5,
    "tool_choice": "required",
    "tools": [TOOL],
    "top_k": 17,
    "top_logprobs": 3,
    "top_p": 0.75,
    "user": "somebody",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
# What a parameter is nothing without.
WITH = {"parallel_tool_calls": {"tools": [TOOL]}, "tool_choice": {"tools": [TOOL]}}
# Where it stands in a provider's request, and what there. `...`: whatever, but not nothing.
ARRIVES = {
    "Anthropic": {
        "max_completion_tokens": ("max_tokens", 4321),
        "max_tokens": ("max_tokens", 4321),
        "parallel_tool_calls": ("tool_choice", {"type": "auto", "disable_parallel_tool_use": True}),
        "reasoning_effort": ("thinking", {"type": "enabled", "budget_tokens": 4096}),
        "response_format": ("output_config.format", {"type": "json_schema", "schema": SCHEMA}),
        "safety_identifier": ("metadata.user_id", ...),
        "service_tier": ("service_tier", "standard_only"),
        "stop": ("stop_sequences", ["never", "ever"]),
        "temperature": ("temperature", 0.5),
        "tool_choice": ("tool_choice", {"type": "any"}),
        "tools": ("tools", [{"name": "matrix_tool", "description": "Tells.", "input_schema": SCHEMA}]),
        "top_k": ("top_k", 17),
        "top_p": ("top_p", 0.75),
        "user": ("metadata.user_id", ...),
    },
    "Google": {
        "frequency_penalty": ("generationConfig.frequencyPenalty", 0.5),
        "max_completion_tokens": ("generationConfig.maxOutputTokens", 4321),
        "max_tokens": ("generationConfig.maxOutputTokens", 4321),
        "n": ("generationConfig.candidateCount", 2),
        "presence_penalty": ("generationConfig.presencePenalty", 0.25),
        "reasoning_effort": ("generationConfig.thinkingConfig", {"includeThoughts": True, "thinkingBudget": ...}),
        "response_format": ("generationConfig.responseJsonSchema", SCHEMA),
        "seed": ("generationConfig.seed", 77),
        "stop": ("generationConfig.stopSequences", ["never", "ever"]),
        "temperature": ("generationConfig.temperature", 0.5),
        "tool_choice": ("toolConfig.functionCallingConfig", {"mode": "ANY"}),
        "tools": ("tools", [{"functionDeclarations": [
            {"name": "matrix_tool", "description": "Tells.", "parametersJsonSchema": SCHEMA}]}]),
        "top_k": ("generationConfig.topK", 17),
        "top_p": ("generationConfig.topP", 0.75),
    },
    "Bedrock": {
        "max_completion_tokens": ("inferenceConfig.maxTokens", 4321),
        "max_tokens": ("inferenceConfig.maxTokens", 4321),
        "metadata": ("requestMetadata", {"team": "matrix"}),
        "reasoning_effort": ("additionalModelRequestFields.thinking", {"type": "enabled", "budget_tokens": 4096}),
        "response_format": ("outputConfig.textFormat.structure.jsonSchema.name", "place"),
        "service_tier": ("serviceTier", {"type": "default"}),
        "stop": ("inferenceConfig.stopSequences", ["never", "ever"]),
        "temperature": ("inferenceConfig.temperature", 0.5),
        "tool_choice": ("toolConfig.toolChoice", {"any": {}}),
        "tools": ("toolConfig.tools", [{"toolSpec": {
            "name": "matrix_tool", "description": "Tells.", "inputSchema": {"json": SCHEMA}}}]),
        "top_k": ("additionalModelRequestFields.top_k", 17),
        "top_p": ("inferenceConfig.topP", 0.75),
    },
}

# Kinds of content by their rows, and the bytes that must arrive.
CONTENT = {
    "text": ({"type": "text", "text": "matrix, again"}, "matrix, again"),
    "`image_url` with `data:`": ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}, PIXEL),
    "`image_url` with `https:`": (
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "https://example.com/a.png"),
    "`input_audio`": ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}, "UklGRg=="),
    "`file` with a PDF": (
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}}, PDF),
    "`file` with an id": ({"type": "file", "file": {"file_id": "file-1"}}, None),
}


def read_matrix():
    """Rows of the README: the name, and a fate by lane."""
    text = README.read_text().split("<!-- lanes: made by src/ai/matrix.rs -->\n")[1].split("<!-- lanes: end -->")[0]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines())
    return {row[0]: dict(zip(head[1:], row[1:])) for row in rows}


MATRIX = read_matrix() if ADDRESS else {}
CREATE = set(inspect.signature(openai.resources.chat.Completions.create).parameters)


@functools.cache
def client(key="AQUEDUCT_TAPED_KEY"):
    return openai.OpenAI(base_url=ADDRESS, api_key=os.environ[key], max_retries=0, timeout=30)


def ask(model, key="AQUEDUCT_TAPED_KEY", content="matrix please", stream=False, **params):
    """An answer's headers and text, read as clients do. What the package has no name for goes as its users send it."""
    known = {name: value for name, value in params.items() if name in CREATE}
    rest = {name: value for name, value in params.items() if name not in CREATE}
    raw = client(key).chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": content}], stream=stream, extra_body=rest or None, **known)
    if stream:
        chunks = list(raw.parse())
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    else:
        text = raw.parse().choices[0].message.content
    return raw.headers, text


def stands(body, path):
    for name in path.split("."):
        body = body[name]
    return body


@through_aqueduct
class Matrix(TapedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        mock("/__aimock/fixtures", {"fixtures": [{"match": {"userMessage": "matrix"}, "response": {"content": SAYS}}]})

    def each(self, wanted, test):
        """Calls the test with every parameter and lane of these fates, streamed and not."""
        for row, lanes in MATRIX.items():
            for lane, fate in lanes.items() if row not in CONTENT else ():
                for stream in (False, True) if fate in wanted else ():
                    name = row.strip("`")
                    with self.subTest(name, lane=lane, stream=stream):
                        what = {"model": MODELS[lane], "stream": stream, **WITH.get(name, {})}
                        test(name, lane, fate, what, {**what, name: VALUES[name]})

    def matches(self, found, wanted):
        if wanted is ...:
            self.assertTrue(found)
        elif isinstance(wanted, dict):
            self.assertEqual(set(found), set(wanted))
            for name, value in wanted.items():
                self.matches(found[name], value)
        else:
            self.assertEqual(found, wanted)

    def sent(self, **what):
        """The one request that arrives for this one, and the answer's headers."""
        headers, text = ask(**what)
        self.assertEqual(text, SAYS)
        [asked] = self.tape.take()
        return asked, headers

    def test_the_suite_knows_every_row_and_every_lane(self):
        params = {row.strip("`") for row in MATRIX if row not in CONTENT}
        self.assertEqual(params, set(VALUES))
        self.assertEqual(set(MATRIX) & set(CONTENT), set(CONTENT))
        for lanes in MATRIX.values():
            self.assertEqual(set(lanes), set(MODELS))
            self.assertLessEqual(set(lanes.values()), {"yes", "passed", "mapped", "dropped", "refused"})
        for lane, arrives in ARRIVES.items():
            taken = {row.strip("`") for row, lanes in MATRIX.items() if lanes[lane] in ("passed", "mapped")}
            self.assertEqual(taken, set(arrives), lane)

    def test_what_is_passed_or_mapped_arrives(self):
        def test(name, lane, _fate, _without, given):
            asked, headers = self.sent(**given)
            path, wanted = ARRIVES[lane][name]
            self.matches(stands(asked.json, path), wanted)
            self.assertNotIn("x-aqueduct-dropped-params", headers)

        self.each({"passed", "mapped"}, test)

    def test_what_is_dropped_changes_nothing_and_is_named(self):
        def test(name, _lane, _fate, without, given):
            plain, _ = self.sent(**without)
            asked, headers = self.sent(**given)
            self.assertEqual((asked.path, asked.body), (plain.path, plain.body))
            self.assertEqual(headers["x-aqueduct-dropped-params"], name)

        self.each({"dropped"}, test)

    def test_a_strict_repository_refuses_what_others_drop(self):
        def test(name, _lane, fate, _without, given):
            given["key"] = "AQUEDUCT_STRICT_KEY"
            if fate == "dropped":
                self.is_refused(name, **given)
            else:
                self.sent(**given)

        self.each({"passed", "mapped", "dropped"}, test)

    def test_what_is_refused_is_named_and_not_sent(self):
        self.each({"refused"}, lambda name, _lane, _fate, _without, given: self.is_refused(name, **given))

    def is_refused(self, name, **what):
        with self.assertRaises(openai.BadRequestError) as caught:
            ask(**what)
        self.assertEqual((caught.exception.code, caught.exception.param), ("unsupported_parameter", name))
        self.assertEqual(self.tape.take(), [])

    def test_content_arrives_or_is_refused(self):
        for row, (part, bytes_of_it) in CONTENT.items():
            for lane, fate in MATRIX[row].items():
                with self.subTest(row, lane=lane):
                    content = [{"type": "text", "text": "matrix please"}, part]
                    if fate == "yes":
                        asked, _ = self.sent(model=MODELS[lane], content=content)
                        self.assertIn(bytes_of_it.encode(), asked.body)
                        continue
                    with self.assertRaises(openai.BadRequestError) as caught:
                        ask(MODELS[lane], content=content)
                    self.assertEqual(caught.exception.code, "unsupported_parameter")
                    self.assertIn(part["type"], caught.exception.param)
                    self.assertEqual(self.tape.take(), [])

    def test_the_values_that_some_models_do_not_take_are_named(self):
        cases = [
            ("claude-sonnet-4-5", {"temperature": 1.5}, "temperature", ("temperature", 1.0)),
            (MODELS["Bedrock"], {"temperature": 1.5}, "temperature", ("inferenceConfig.temperature", 1.0)),
            ("amazon.nova-pro-v1:0", {"reasoning_effort": "high"}, "reasoning_effort", None),
            ("amazon.nova-pro-v1:0", {"top_k": 5}, "top_k", None),
            ("claude-sonnet-4-5", {"service_tier": "flex"}, "service_tier", None),
            ("claude-opus-4-6", {"reasoning_effort": "max"}, None, ("output_config.effort", "max")),
            ("gemini-3-pro-preview", {"reasoning_effort": "high"}, None, ("generationConfig.thinkingConfig.thinkingLevel", "HIGH")),
            ("gemini-2.5-flash", {"stop": list("abcdef")}, "stop", ("generationConfig.stopSequences", list("abcde"))),
            (MODELS["Bedrock"], {"metadata": {"a": "grüße"}}, "metadata", None),
        ]
        for model, params, dropped, arrives in cases:
            with self.subTest(model, **params):
                asked, headers = self.sent(model=model, **params)
                self.assertEqual(headers.get("x-aqueduct-dropped-params"), dropped)
                if arrives:
                    self.matches(stands(asked.json, arrives[0]), arrives[1])

    def test_a_lane_that_speaks_the_dialect_passes_all_of_it_byte_for_byte(self):
        # `logprobs` goes with `top_logprobs`, and both limits are never given together.
        everything = {name: value for name, value in VALUES.items() if name not in ("max_tokens", "function_call", "functions")}
        for model in ("gpt-4o", "served"):
            for stream in (False, True):
                with self.subTest(model, stream=stream):
                    sent = []
                    known = {name: value for name, value in everything.items() if name in CREATE}
                    rest = {name: value for name, value in everything.items() if name not in CREATE}
                    http = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: sent.append(request.read())]})
                    with openai.OpenAI(base_url=ADDRESS, api_key=os.environ["AQUEDUCT_TAPED_KEY"], http_client=http) as given:
                        answer = given.chat.completions.create(
                            model=model, messages=[{"role": "user", "content": "matrix please"}], stream=stream,
                            extra_body=rest, stream_options={"include_usage": True} if stream else openai.omit, **known)
                        for _ in answer if stream else ():
                            pass
                    [asked] = self.tape.take()
                    self.assertEqual(asked.body, sent[0])
                    self.assertEqual(set(everything) - set(json.loads(asked.body)), set())


if __name__ == "__main__":
    bed.main()
