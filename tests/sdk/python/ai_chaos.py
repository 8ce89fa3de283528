"""openai over providers that fail as aimock's chaos has it, on every lane: what broke never looks whole to a client."""

import functools
import http.client
import json
import os
import time
import urllib.parse

import openai

import bed
from bed import through_aqueduct
from taped import TapedCase, mock

URL = urllib.parse.urlsplit(os.environ.get("AQUEDUCT_AI_URL", ""))
LANES = {
    "openai": "gpt-4o",
    "other": "served",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "aws": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
SPOKEN = (LANES["openai"], LANES["other"])
LONG = "Grüße 世界 🌍! " * 20
LATE_MS = 400
BROKEN_STREAMS = {
    "chaos cut": {"truncateAfterChunks": 4, "chunkSize": 5},
    "chaos first": {"truncateAfterChunks": 1, "chunkSize": 5},
    "chaos slow": {"disconnectAfterMs": 60, "latency": 10, "chunkSize": 2},
}
FIXTURES = [
    {"match": {"userMessage": "chaos drop"}, "response": {"content": LONG}, "chaos": {"dropRate": 1}},
    {"match": {"userMessage": "chaos malformed"}, "response": {"content": LONG}, "chaos": {"malformedRate": 1}},
    {"match": {"userMessage": "chaos disconnect"}, "response": {"content": LONG}, "chaos": {"disconnectRate": 1}},
    {"match": {"userMessage": "chaos limited"}, "response": {"content": LONG}, "chaos": {"rateLimitRate": 1}},
    {"match": {"userMessage": "chaos late"}, "response": {"content": LONG}, "chaos": {"latencyMs": LATE_MS}},
    {"match": {"userMessage": "chaos none"}, "response": {"content": LONG}, "chunkSize": 5},
    *({"match": {"userMessage": words}, "response": {"content": LONG}, **how} for words, how in BROKEN_STREAMS.items()),
]


@functools.cache
def client():
    return openai.OpenAI(base_url=URL.geturl(), api_key=os.environ["AQUEDUCT_TAPED_KEY"], max_retries=0, timeout=30)


def ask(model, text, stream, **more):
    answer = client().with_options(**more).chat.completions.create(model=model, messages=[{"role": "user", "content": text}], stream=stream)
    if not stream:
        return joined(answer.choices[0].message.content)
    chunks = list(answer)
    if not any(choice.finish_reason for chunk in chunks for choice in chunk.choices):
        raise AssertionError("a stream without its end was presented as whole")
    return joined("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices))


def joined(text):
    """The mock cuts characters into halves; a lane that passes bytes on leaves them so."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def raw(model, text):
    """A stream's bytes as they come, and whether their end was told."""
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=30)
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": text}]})
    headers = {"authorization": "Bearer " + os.environ["AQUEDUCT_TAPED_KEY"], "content-type": "application/json"}
    connection.request("POST", URL.path + "/chat/completions", body, headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read(), True
    except http.client.IncompleteRead as cut:
        return answer.status, cut.partial, False
    finally:
        connection.close()


@through_aqueduct
class Chaos(TapedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        mock("/__aimock/fixtures", {"fixtures": FIXTURES})

    def each(self, test, streams=(False, True)):
        for lane, model in LANES.items():
            for stream in streams:
                with self.subTest(lane, stream=stream):
                    test(model, stream)

    def fails(self, model, text, stream, **more):
        with self.assertRaises((openai.APIError, json.JSONDecodeError)) as caught:
            ask(model, text, stream, **more)
        return caught.exception

    def fails_as_the_providers(self, text):
        self.each(lambda model, stream: self.assertGreaterEqual(self.fails(model, text, stream).status_code, 500))

    def test_the_same_answer_arrives_whole_where_nothing_fails(self):
        def test(model, stream):
            self.assertEqual(ask(model, "chaos none", stream), LONG)
            if stream:
                status, body, whole = raw(model, "chaos none")
                self.assertEqual((status, whole, body.endswith(b"data: [DONE]\n\n")), (200, True, True))

        self.each(test)

    def test_a_provider_that_drops_requests_is_an_error(self):
        self.fails_as_the_providers("chaos drop")

    def test_a_provider_that_answers_nonsense_is_an_error(self):
        def test(model, stream):
            if model not in SPOKEN:
                self.assertGreaterEqual(self.fails(model, "chaos malformed", stream).status_code, 500)
            elif not stream:
                # Passed on as it came: the package finds that it is no JSON.
                self.fails(model, "chaos malformed", stream)
            else:
                _, body, _ = raw(model, "chaos malformed")
                self.assertNotIn(b"data:", body)

        self.each(test)

    def test_a_provider_that_hangs_up_is_an_error(self):
        self.fails_as_the_providers("chaos disconnect")

    def test_a_limit_is_told_with_the_time_to_wait(self):
        def test(model, stream):
            self.tape.take()
            error = self.fails(model, "chaos limited", stream)
            self.assertIsInstance(error, openai.RateLimitError)
            self.assertTrue(error.response.headers["retry-after"])
            self.assertEqual(len(self.tape.take()), 1)

        self.each(test)

    def test_a_provider_that_is_late_is_waited_for(self):
        def test(model, stream):
            started = time.monotonic()
            self.assertEqual(ask(model, "chaos late", stream), LONG)
            self.assertGreaterEqual(time.monotonic() - started, LATE_MS / 1000)

        self.each(test)

    def test_a_stream_that_breaks_off_raises(self):
        for text in BROKEN_STREAMS:
            with self.subTest(text):
                self.each(lambda model, stream: self.fails(model, text, stream), [True])

    def test_a_stream_that_breaks_off_has_no_end(self):
        def test(model, text):
            status, body, whole = raw(model, text)
            self.assertNotIn(b"[DONE]", body)
            self.assertNotIn(b'"finish_reason":"', body)
            # Either the answer was not begun, or its client is told, by an event or by the connection.
            self.assertTrue(status >= 500 or b'"error":' in body or not whole, body[-200:])

        for text in BROKEN_STREAMS:
            with self.subTest(text):
                self.each(lambda model, _: test(model, text), [True])


if __name__ == "__main__":
    bed.main()
