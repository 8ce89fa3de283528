"""openai beside the admin API: what an answer tells of tokens is what the statistics and the metrics count, on each lane
(aimock speaks for the providers) and at a real server (llama.cpp).

Statistics are of one key and one model, so what other suites do meanwhile is not in them.
"""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

import openai

from bed import Case, main, through_aqueduct

LANES = dict(pair.split("=") for pair in os.environ.get("AQUEDUCT_LANES", "").split(",") if pair)
# Counted of a scripted answer; the prompt's details only OpenAI's own shape has.
USAGE = {"prompt_tokens": 1234, "completion_tokens": 56, "prompt_tokens_details": {"cached_tokens": 1000},
         "completion_tokens_details": {"reasoning_tokens": 12}}
TEXT = "ledger speaks " * 30
FIXTURES = [
    {"match": {"userMessage": "ledger counts"}, "response": {"content": TEXT, "usage": USAGE}},
    # With pauses: a connection that is reset at once takes with it what it had sent.
    {"match": {"userMessage": "ledger cut"}, "response": {"content": TEXT}, "truncateAfterChunks": 4, "chunkSize": 5,
     "latency": 50},
    {"match": {"userMessage": "ledger slow"}, "response": {"content": TEXT}, "latency": 300, "chunkSize": 5},
    {"match": {"userMessage": "ledger limited"},
     "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429}},
]
COUNTS = ("apiCalls", "errors", "estimated", "partial")
TOKENS = ("tokensIn", "tokensOut", "tokensCached", "tokensCacheWrite", "tokensReasoning")
TYPES = {"tokensIn": "input", "tokensOut": "output", "tokensCached": "cached", "tokensCacheWrite": "cache_write",
         "tokensReasoning": "reasoning"}


def fetch(url, body=None, token=None):
    headers = {"content-type": "application/json"} if body is not None else {}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def admin(path, body=None):
    return fetch(f"{os.environ['AQUEDUCT_ADMIN_URL']}/{path}", body, os.environ["AQUEDUCT_ADMIN_TOKEN"])


class Account:
    """One key's rows of one model."""

    def __init__(self, repository, model):
        repositories = json.loads(admin("repo"))["repos"]
        self.repository = next(one for one in repositories if one["name"] == repository)
        key = "test lanes" if repository == "lanes" else "test ai"
        self.key = next(one for one in self.repository["aiApiKeys"] if one["name"] == key)
        self.model = model
        self.before = self.now()

    def now(self):
        query = urllib.parse.urlencode({"repoId": self.repository["id"], "repoAiApiKeyId": self.key["id"],
                                        "llmModel": self.model, "details": "true"})
        stats = json.loads(admin(f"ai/llm/stats?{query}"))["stats"]
        rows = [row for one in stats for row in one["details"]]
        counted = {name: sum(int(row[name]) for row in rows) for name in COUNTS + TOKENS}
        for one in stats:
            mine = [row for row in rows if row["aiLlmId"] == one["aiLlmId"]]
            assert int(one["totalTokensIn"]) == sum(int(row["tokensIn"]) for row in mine), one
            assert one["totalTokensIn"] == one["totalLlmTokensIn"], one
            assert one["totalTokensOut"] == one["totalLlmTokensOut"], one
            assert one["totalBlocks"] == one["totalAlerts"] == one["totalPolicyViolations"] == "0", one
        shown = dict.fromkeys(TOKENS, 0)
        for line in admin("metrics").splitlines():
            mine = f'model="{self.model}",repo="{self.repository["name"]}"'
            if line.startswith("aqueduct_ai_tokens_total{") and mine in line:
                name = next(name for name, kind in TYPES.items() if f'type="{kind}"' in line)
                shown[name] += int(line.rsplit(" ", 1)[1])
        return counted, shown

    def spent(self, calls=1):
        """What was counted since, once the calls are: that is just after their answers."""
        deadline = time.monotonic() + 10
        while True:
            (counted, shown), (counted_before, shown_before) = self.now(), self.before
            spent = {name: counted[name] - counted_before[name] for name in counted}
            if spent["apiCalls"] >= calls:
                # The same in the metrics, which count the same model of whatever key.
                for name in TOKENS:
                    assert shown[name] - shown_before[name] == spent[name], (name, shown, spent)
                return spent
            assert time.monotonic() < deadline, spent
            time.sleep(0.02)


def client(repository):
    key = os.environ["AQUEDUCT_LANES_KEY" if repository == "lanes" else "AQUEDUCT_AI_KEY"]
    return openai.OpenAI(base_url=os.environ["AQUEDUCT_AI_URL"], api_key=key, max_retries=0, timeout=60)


def tokens(usage):
    """An answer's own account, in the statistics' names."""
    prompt, answer = usage.prompt_tokens_details, getattr(usage, "completion_tokens_details", None)
    return {
        "tokensIn": usage.prompt_tokens,
        "tokensOut": usage.completion_tokens,
        "tokensCached": (prompt and prompt.cached_tokens) or 0,
        "tokensCacheWrite": getattr(prompt, "cache_write_tokens", 0) or 0,
        "tokensReasoning": (answer and answer.reasoning_tokens) or 0,
    }


def clean(spent, **more):
    return {**{name: 0 for name in COUNTS}, "apiCalls": 1, **spent, **more}


@through_aqueduct
class Ledger(Case):
    @classmethod
    def setUpClass(cls):
        fetch(os.environ["AQUEDUCT_MOCK"] + "/__aimock/fixtures", {"fixtures": FIXTURES})

    def ask(self, model, text, repository="lanes", **more):
        return client(repository).chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], **more
        )

    def models(self):
        return [*LANES.values(), "gpt-4o-mini"]

    def test_an_answers_usage_is_what_is_counted(self):
        for model in self.models():
            for stream in (False, True):
                with self.subTest(model, stream=stream):
                    account = Account("lanes", model)
                    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
                    answer = self.ask(model, "ledger counts", **more)
                    usage = [chunk.usage for chunk in answer if chunk.usage][-1] if stream else answer.usage
                    self.assertEqual((usage.prompt_tokens, usage.completion_tokens), (1234, 56))
                    self.assertEqual(account.spent(), clean(tokens(usage)))

    def test_usage_that_nobody_asked_for_is_counted_and_not_shown(self):
        for model in self.models():
            with self.subTest(model):
                account = Account("lanes", model)
                chunks = list(self.ask(model, "ledger counts", stream=True))
                self.assertFalse([chunk for chunk in chunks if chunk.usage or not chunk.choices])
                spent = account.spent()
                self.assertEqual((spent["tokensIn"], spent["tokensOut"]), (1234, 56))

    def test_a_broken_stream_is_partial_and_an_error(self):
        for model in self.models():
            with self.subTest(model):
                account = Account("lanes", model)
                with self.assertRaises((openai.APIError, openai.APIConnectionError)):
                    list(self.ask(model, "ledger cut", stream=True))
                spent = account.spent()
                self.assertEqual([spent[name] for name in COUNTS], [1, 1, 0, 1])
                self.assertGreater(spent["tokensOut"], 0)

    def test_a_client_that_leaves_is_partial_and_no_error(self):
        for model in self.models():
            with self.subTest(model):
                account = Account("lanes", model)
                stream = self.ask(model, "ledger slow", stream=True)
                next(iter(stream))
                stream.close()
                spent = account.spent()
                self.assertEqual([spent[name] for name in COUNTS], [1, 0, 0, 1])

    def test_a_refusal_is_an_error_without_tokens(self):
        for model in self.models():
            with self.subTest(model):
                account = Account("lanes", model)
                with self.assertRaises(openai.RateLimitError):
                    self.ask(model, "ledger limited")
                expected = clean(dict.fromkeys(TOKENS, 0), errors=1)
                self.assertEqual(account.spent(), expected)

    def test_a_real_server(self):
        account = Account("main", "tiny")
        answer = self.ask("tiny", "hello", repository="main", max_tokens=5)
        self.assertEqual(account.spent(), clean(tokens(answer.usage)))
        account = Account("main", "tiny")
        more = {"stream": True, "stream_options": {"include_usage": True}}
        usage = [chunk.usage for chunk in self.ask("tiny", "hello", repository="main", max_tokens=5, **more)][-1]
        self.assertEqual(account.spent(), clean(tokens(usage)))
        account = Account("main", "tiny-embedding")
        answer = client("main").embeddings.create(model="tiny-embedding", input="embed this")
        spent = account.spent()
        self.assertEqual((spent["tokensIn"], spent["tokensOut"]), (answer.usage.prompt_tokens, 0))


@through_aqueduct
class Resources(Case):
    """The admin API's own view."""

    def test_ai_resources_are_listed(self):
        listed = {one["name"]: one for one in json.loads(admin("ai/llm?workspaceId=w"))["aiLlms"]}
        for dialect in LANES:
            kind = {"bedrock": "AWS"}.get(dialect, dialect.upper())
            self.assertEqual((listed[dialect]["aiType"], listed[dialect]["key"]), (kind, None))
            self.assertEqual([one["name"] for one in listed[dialect]["repos"]], ["lanes"])
        self.assertEqual(json.loads(admin("ai/llm/available"))["aiLlms"], list(listed.values()))

    def test_models_of_a_repository(self):
        repository = Account("lanes", "x").repository["id"]
        models = json.loads(admin("ai/models", {"repoId": repository}))["models"]
        listed = {model.id for model in client("lanes").models.list()}
        self.assertEqual({model["id"] for model in models}, listed)
        google = json.loads(admin("ai/models", {"repoId": repository, "aiType": "GOOGLE"}))["models"]
        self.assertIn(LANES["google"], [model["id"] for model in google])

    def test_trying_a_resource_is_for_admins(self):
        first = json.loads(admin("ai/llm"))["aiLlms"][0]["id"]
        url = f"{os.environ['AQUEDUCT_ADMIN_URL']}/ai/llm/{first}/validate"
        request = urllib.request.Request(url, method="POST")
        request.add_header("authorization", f"Bearer {os.environ['AQUEDUCT_ADMIN_TOKEN']}")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=30)
        self.assertEqual((caught.exception.code, json.load(caught.exception)["error_code"]), (403, "FORBIDDEN"))


if __name__ == "__main__":
    main()
