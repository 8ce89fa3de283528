"""openai over resources of other dialects: one key, one body, models of each (aimock speaks for the providers).

What aimock is to say is posted to it here; which lanes there are, AQUEDUCT_LANES says (`dialect=model`, by commas).
"""

import http.server
import json
import os
import threading
import urllib.parse
import urllib.request

import openai

import bed
from bed import Case, through_aqueduct

LANES = dict(pair.split("=") for pair in os.environ.get("AQUEDUCT_LANES", "").split(",") if pair)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Tells something.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("lane_weather", "lane_time")
]
LONG = "Grüße 世界 🌍! " * 20
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FIXTURES = [
    {"match": {"userMessage": "lane says", "hasToolResult": False}, "response": {"content": LONG}},
    {
        "match": {"userMessage": "lane tools", "hasToolResult": False},
        "response": {
            "toolCalls": [
                {"name": "lane_weather", "arguments": '{"city":"Zürich"}'},
                {"name": "lane_time", "arguments": "{}"},
            ]
        },
    },
    {"match": {"userMessage": "lane tools", "hasToolResult": True}, "response": {"content": "It is 7 degrees."}},
    {"match": {"userMessage": "lane cut"}, "response": {"content": LONG}, "truncateAfterChunks": 4, "chunkSize": 5},
    {
        "match": {"userMessage": "lane limited"},
        "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429},
    },
    {
        "match": {"userMessage": "lane broken"},
        "response": {"error": {"message": "oops", "type": "api_error"}, "status": 500},
    },
    {
        "match": {"userMessage": "lane refused"},
        "response": {"error": {"message": "no such thing", "type": "invalid_request_error"}, "status": 400},
    },
]


def mock(path, body=None):
    """The mock's own interface."""
    request = urllib.request.Request(os.environ["AQUEDUCT_MOCK"] + path, body and json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def client(**more):
    return openai.OpenAI(
        base_url=os.environ["AQUEDUCT_AI_URL"],
        api_key=os.environ["AQUEDUCT_LANES_KEY"],
        **{"max_retries": 0, "timeout": 30, **more},
    )


def ask(model, text, **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return client().chat.completions.create(model=model, messages=messages, **more)


def heard(stream):
    """Puts a stream together as clients do, and checks the rules on the way."""
    role, content, finish, usage, calls, ids = None, "", [], None, [], set()
    for chunk in stream:
        ids.add((chunk.id, chunk.created, chunk.model))
        if not chunk.choices:
            usage = chunk.usage
            continue
        choice = chunk.choices[0]
        role = choice.delta.role or role
        content += choice.delta.content or ""
        for part in choice.delta.tool_calls or []:
            if part.id:
                assert part.index == len(calls), part
                calls.append({"id": part.id, "name": part.function.name, "arguments": ""})
            calls[part.index]["arguments"] += part.function.arguments or ""
        if choice.finish_reason:
            finish.append(choice.finish_reason)
    assert len(ids) == 1, ids
    assert len(finish) == 1, finish
    return {"role": role, "content": content, "finish": finish[0], "usage": usage, "calls": calls}


class Lane:
    """What is true of every lane."""

    dialect = model = None

    @classmethod
    def setUpClass(cls):
        if not getattr(Lane, "ready", False):
            mock("/__aimock/fixtures", {"fixtures": FIXTURES})
            Lane.ready = True

    def test_an_answer(self):
        raw = client().chat.completions.with_raw_response.create(
            model=self.model,
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "lane says so"}],
            max_tokens=4000,
            temperature=0.7,
            # What the existing clients send to every model alike.
            store=True,
            metadata={"workspace_id": "w", "user_id": "u", "conversation_id": "c"},
        )
        answer = raw.parse()
        choice = answer.choices[0]
        self.assertEqual((choice.message.role, choice.message.content, choice.finish_reason), ("assistant", LONG, "stop"))
        self.assertEqual(answer.object, "chat.completion")
        self.assertTrue(answer.id and answer.created and answer.usage)
        self.assertIn("store", raw.headers["x-aqueduct-dropped-params"])
        self.assertEqual(raw.headers["x-aqueduct-attempts"], "1")
        self.assertTrue(raw.headers["x-request-id"])

    def test_a_stream(self):
        stream = ask(self.model, "lane says so", stream=True, stream_options={"include_usage": True})
        got = heard(stream)
        self.assertEqual((got["role"], got["content"], got["finish"]), ("assistant", LONG, "stop"))
        self.assertIsNotNone(got["usage"])
        got = heard(ask(self.model, "lane says so", stream=True))
        self.assertEqual(got["content"], LONG)
        self.assertIsNone(got["usage"])

    def test_tools_in_two_turns(self):
        asked = [{"role": "user", "content": "lane tools please"}]
        for stream in (False, True):
            with self.subTest(stream=stream):
                answer = ask(self.model, None, messages=asked, tools=TOOLS, stream=stream)
                if stream:
                    got = heard(answer)
                    calls, finish = got["calls"], got["finish"]
                    message = {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": call["id"], "type": "function", "function": {k: call[k] for k in ("name", "arguments")}}
                            for call in calls
                        ],
                    }
                else:
                    message, finish = answer.choices[0].message, answer.choices[0].finish_reason
                    calls = [{"id": c.id, "name": c.function.name, "arguments": c.function.arguments} for c in message.tool_calls]
                self.assertEqual(finish, "tool_calls")
                self.assertEqual([call["name"] for call in calls], ["lane_weather", "lane_time"])
                self.assertEqual([json.loads(call["arguments"]) for call in calls], [{"city": "Zürich"}, {}])
                self.assertEqual(len({call["id"] for call in calls}), 2)
                results = [{"role": "tool", "tool_call_id": call["id"], "content": "7"} for call in calls]
                answer = ask(self.model, None, messages=[*asked, message, *results], tools=TOOLS)
                self.assertEqual(answer.choices[0].message.content, "It is 7 degrees.")

    def test_content_is_carried_or_refused(self):
        everyone = set(LANES)
        cases = [
            (everyone, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}),
            ({"anthropic"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
            ({"google"}, {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
            (everyone, {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}}),
            (set(), {"type": "file", "file": {"file_id": "file-1"}}),
        ]
        for lanes, part in cases:
            messages = [{"role": "user", "content": [{"type": "text", "text": "lane says what it sees"}, part]}]
            with self.subTest(part["type"]):
                if self.dialect in lanes:
                    answer = ask(self.model, None, messages=messages)
                    self.assertEqual(answer.choices[0].message.content, LONG)
                    continue
                with self.assertRaises(openai.BadRequestError) as caught:
                    ask(self.model, None, messages=messages)
                self.assertEqual(caught.exception.code, "unsupported_parameter")

    def test_parameters_are_taken(self):
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        answer = ask(
            self.model,
            "lane says so",
            max_completion_tokens=9000,
            temperature=0.3,
            top_p=0.9,
            stop=["never"],
            user="somebody",
            seed=1,
            service_tier="default",
            reasoning_effort="low",
            extra_body={"top_k": 5},
        )
        self.assertEqual(answer.choices[0].message.content, LONG)
        form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
        self.assertTrue(ask(self.model, "lane says so", response_format=form).choices)
        for choice in ("auto", "required", {"type": "function", "function": {"name": "lane_weather"}}):
            answer = ask(self.model, "lane tools please", tools=TOOLS, tool_choice=choice)
            self.assertEqual(answer.choices[0].finish_reason, "tool_calls")

    def test_a_broken_stream_is_an_error(self):
        with self.assertRaises((openai.APIError, openai.APIConnectionError)):
            for _ in ask(self.model, "lane cut", stream=True):
                pass

    def test_errors_of_the_provider_are_the_clients_kind_of_error(self):
        cases = [
            ("lane limited", openai.RateLimitError, 429),
            ("lane refused", openai.BadRequestError, 400),
            ("lane broken", openai.InternalServerError, 502),
        ]
        for text, kind, status in cases:
            for stream in (False, True):
                with self.subTest(text, stream=stream), self.assertRaises(kind) as caught:
                    ask(self.model, text, stream=stream)
                self.assertEqual(caught.exception.status_code, status)
                self.assertTrue(caught.exception.message)

    def test_what_cannot_be_said_is_refused_before_it_is_sent(self):
        before = len(mock("/__aimock/journal"))
        for name, more in [
            ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
            ("prompt_template", {"extra_body": {"prompt_template": 1}}),
        ]:
            with self.subTest(name), self.assertRaises(openai.BadRequestError) as caught:
                ask(self.model, "lane says so", **more)
            self.assertEqual((caught.exception.code, caught.exception.param), ("unsupported_parameter", name))
        with self.assertRaises(openai.BadRequestError) as caught:
            ask(self.model, None, messages=[{"role": "tool", "tool_call_id": "x", "content": "1"}])
        self.assertEqual(caught.exception.param, "messages[0].tool_call_id")
        self.assertEqual(len(mock("/__aimock/journal")), before)

    def test_other_paths_are_not_served(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            client().responses.create(model=self.model, input="x")
        self.assertEqual(caught.exception.status_code, 501)


class EmbeddingProviders(http.server.BaseHTTPRequestHandler):
    """Answers as the documents of Google, Amazon and Cohere say: the vector of a text is its length, and 0.5."""

    protocol_version = "HTTP/1.1"
    seen = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = urllib.parse.unquote(self.path)
        self.seen.append((self.path, dict(self.headers), body))
        more = {}
        if path == "/v1beta/models/gemini-embedding-001:batchEmbedContents":
            assert self.headers["x-goog-api-key"] == "sk-upstream-embed"
            texts = [request["content"]["parts"][0]["text"] for request in body["requests"]]
            answer = {"embeddings": [{"values": [len(text), 0.5]} for text in texts]}
        elif path == "/model/amazon.titan-embed-text-v2:0/invoke":
            answer = {"embedding": [len(body["inputText"]), 0.5], "inputTextTokenCount": 3}
        elif path == "/model/cohere.embed-v4:0/invoke":
            assert body["input_type"] == "search_document"
            answer = {"embeddings": {"float": [[len(text), 0.5] for text in body["texts"]]}}
            more = {"x-amzn-bedrock-input-token-count": "9"}
        else:
            raise AssertionError(path)
        answer = json.dumps(answer).encode()
        self.send_response(200)
        for name, value in {"content-type": "application/json", "content-length": str(len(answer)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@through_aqueduct
class Embeddings(Case):
    @classmethod
    def setUpClass(cls):
        address = ("127.0.0.1", int(os.environ["AQUEDUCT_EMBED_PORT"]))
        cls.server = http.server.ThreadingHTTPServer(address, EmbeddingProviders)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def test_texts_become_vectors_in_their_order_whatever_the_encoding(self):
        texts = ["a" * length for length in range(1, 120)]
        for model, calls, tokens in [
            ("gemini-embedding-001", 2, 0),
            ("amazon.titan-embed-text-v2:0", 50, 150),
            ("cohere.embed-v4:0", 2, 18),
        ]:
            asked = texts[:50] if "titan" in model else texts
            # The package asks for base64 unless it is told otherwise.
            for more in ({}, {"encoding_format": "float"}):
                with self.subTest(model, **more):
                    EmbeddingProviders.seen.clear()
                    answer = client().embeddings.create(model=model, input=asked, **more)
                    self.assertEqual([item.embedding for item in answer.data], [[len(text), 0.5] for text in asked])
                    self.assertEqual(len(EmbeddingProviders.seen), calls)
                    self.assertEqual(answer.usage.prompt_tokens, tokens)

    def test_what_is_no_text_is_refused(self):
        for asked in ([1, 2], [[1, 2]], []):
            with self.subTest(asked), self.assertRaises(openai.BadRequestError) as caught:
                client().embeddings.create(model="gemini-embedding-001", input=asked)
            self.assertEqual(caught.exception.param, "input")
        with self.assertRaises(openai.NotFoundError):
            client().embeddings.create(model=LANES["anthropic"], input="a")


@through_aqueduct
class Moving(Case):
    def test_a_conversation_moves_from_model_to_model(self):
        Lane.setUpClass()
        messages = []
        for model in [*LANES.values(), "gpt-4o-mini", *reversed(LANES.values())]:
            messages.append({"role": "user", "content": "lane tools please"})
            answer = ask(model, None, messages=messages, tools=TOOLS).choices[0].message
            # As clients keep it: with every member that the answer had.
            messages.append(answer.model_dump())
            self.assertEqual(len(answer.tool_calls), 2, model)
            messages += [{"role": "tool", "tool_call_id": call.id, "content": "7"} for call in answer.tool_calls]
            answer = ask(model, None, messages=messages, tools=TOOLS).choices[0].message
            self.assertEqual(answer.content, "It is 7 degrees.", model)
            messages.append(answer.model_dump())


for dialect, model in LANES.items():
    name = f"{dialect.capitalize()}Lane"
    globals()[name] = through_aqueduct(type(name, (Lane, Case), {"dialect": dialect, "model": model}))


if __name__ == "__main__":
    bed.main()
