"""Recorded answers of real providers, read through Aqueduct and by the provider's own SDK: both must say the same.

Each is played whole, in pieces cut at random and at every byte, and cut off at every byte. Whatever comes of that is
either the whole answer, as openai-python's strict types have it, or an error.
"""

import base64
import http.client
import json
import os
import random
import struct
import urllib.parse

import anthropic
import boto3
import botocore.exceptions
from botocore.config import Config
from google import genai
from google.genai import errors as genai_errors
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import bed
import recordings
from bed import through_aqueduct
from taped import Answer, TapedCase

URL = urllib.parse.urlsplit(os.environ.get("AQUEDUCT_AI_URL", ""))
LONG = os.environ.get("AQUEDUCT_LARGE") == "1"
MODELS = {
    "openai": "gpt-4o",
    "openai-embeddings": "text-embedding-3-large",
    "anthropic": "claude-sonnet-4-5",
    "aws": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "google": "gemini-2.5-flash",
    "google-embeddings": "gemini-embedding-001",
}
FINISHES = {
    None: None,
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length",
    "model_context_window_exceeded": "length", "compaction": "length", "refusal": "content_filter",
    "guardrail_intervened": "content_filter", "content_filtered": "content_filter",
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
}
# Cut into single bytes up to this size, and cut off at every byte of the few smallest.
BYTE_BY_BYTE_MAX = 20_000 if LONG else 2_500
CUT_OFF_EVERYWHERE = 4 if LONG else 1
RANDOM_CUTS = 5 if LONG else 1


def ask(lane, stream, tail="/chat/completions", **more):
    """Status, bytes and whether their end was told."""
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=30)
    body = {"model": MODELS[lane], **more}
    if tail == "/chat/completions":
        body |= {"messages": [{"role": "user", "content": "recorded"}], "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
    headers = {"authorization": "Bearer " + os.environ["AQUEDUCT_TAPED_KEY"], "content-type": "application/json"}
    connection.request("POST", URL.path + tail, json.dumps(body), headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read(), True
    except http.client.IncompleteRead as cut:
        return answer.status, cut.partial, False
    finally:
        connection.close()


def read(status, body, stream):
    """What a client makes of an answer; None where it is an error. Types are openai-python's, strictly."""
    if status != 200:
        error = json.loads(body)["error"]
        assert set(error) >= {"message", "type", "param", "code"}, error
        return None
    if not stream:
        whole = ChatCompletion.model_validate_json(body, strict=True)
        [choice] = whole.choices
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
        return said(choice.message.content or "", thoughts(choice.message), calls, choice.finish_reason, whole.usage)
    return read_stream(body)


def read_stream(body):
    *events, last = body.split(b"\n\n")
    assert last == b"", last
    lines = [event for event in events if not event.startswith(b":")]
    if not lines or lines[-1] != b"data: [DONE]":
        return None
    text, thought, calls, finish, usage, ids = "", "", [], [], None, set()
    for number, line in enumerate(lines[:-1]):
        chunk = ChatCompletionChunk.model_validate_json(line.removeprefix(b"data: "), strict=True)
        ids.add((chunk.id, chunk.created, chunk.model))
        if not chunk.choices:
            usage = chunk.usage
            assert number == len(lines) - 2, "usage is told last"
            continue
        [choice] = chunk.choices
        assert not finish, "nothing follows the end"
        assert number or choice.delta.role == "assistant"
        text += choice.delta.content or ""
        thought += thoughts(choice.delta)
        for part in choice.delta.tool_calls or []:
            if part.id:
                assert part.index == len(calls), part
                calls.append([part.function.name, ""])
            calls[part.index][1] += part.function.arguments or ""
        if choice.finish_reason:
            finish.append(choice.finish_reason)
    assert len(ids) == 1 and len(finish) == 1, (ids, finish)
    return said(text, thought, [(name, json.loads(arguments)) for name, arguments in calls], finish[0], usage)


def thoughts(message):
    return getattr(message, "reasoning_content", None) or ""


def said(text, thought, calls, finish, usage):
    counted = usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    cached = usage and usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens or 0
    return {"text": text, "thought": thought, "calls": calls, "finish": finish, "usage": counted, "cached": cached}


# What a provider's own SDK makes of the same bytes, or None where it raises.


def by_anthropic(tape, recording):
    client = anthropic.Anthropic(base_url=tape.url, api_key="k", max_retries=0)
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "recorded"}]}
    messages = client.beta.messages if recording.is_beta else client.messages
    try:
        if recording.streams:
            with messages.stream(**asked) as stream:
                answer = stream.get_final_message()
        else:
            answer = messages.create(**asked)
    except anthropic.APIError:
        return None
    blocks, usage = answer.content, answer.usage
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    prompt = usage.input_tokens + cached + written
    return {
        "text": "".join(block.text for block in blocks if block.type == "text"),
        "thought": "".join(block.thinking for block in blocks if block.type == "thinking"),
        "calls": [(block.name, block.input) for block in blocks if block.type == "tool_use"],
        "finish": FINISHES[answer.stop_reason],
        "usage": (prompt, usage.output_tokens, prompt + usage.output_tokens),
        "cached": cached,
    }


def by_boto(tape, recording):
    client = boto3.client("bedrock-runtime", endpoint_url=tape.url, region_name="us-east-1", aws_access_key_id="a",
                          aws_secret_access_key="b", config=Config(retries={"total_max_attempts": 1}))
    asked = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "recorded"}]}]}
    try:
        if not recording.streams:
            answer = client.converse(**asked)
            blocks, finish, usage = answer["output"]["message"]["content"], answer["stopReason"], answer["usage"]
        else:
            blocks, finish, usage = converse_stream(client.converse_stream(**asked)["stream"])
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
        return None
    cached, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    prompt = usage["inputTokens"] + cached + written
    return {
        "text": "".join(block.get("text", "") for block in blocks),
        "thought": "".join(block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "") for block in blocks),
        "calls": [(block["toolUse"]["name"], block["toolUse"]["input"]) for block in blocks if "toolUse" in block],
        "finish": FINISHES[finish],
        "usage": (prompt, usage["outputTokens"], prompt + usage["outputTokens"]),
        "cached": cached,
    }


def converse_stream(events):
    blocks, finish, usage = {}, None, None
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            if "toolUse" in start["start"]:
                blocks[start["contentBlockIndex"]] = {"toolUse": {"name": start["start"]["toolUse"]["name"], "input": ""}}
        elif "contentBlockDelta" in event:
            index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            block = blocks.setdefault(index, {})
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            if "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
        elif "messageStop" in event:
            finish = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage = event["metadata"]["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return [blocks[index] for index in sorted(blocks)], finish, usage


def by_genai(tape, recording):
    client = genai.Client(api_key="k", http_options={"base_url": tape.url})
    try:
        if recording.streams:
            chunks = list(client.models.generate_content_stream(model="m", contents="recorded"))
        else:
            chunks = [client.models.generate_content(model="m", contents="recorded")]
    except genai_errors.APIError:
        return None
    parts = [part for chunk in chunks for candidate in chunk.candidates or []
             for part in (candidate.content and candidate.content.parts) or []]
    reasons = [candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or [] if candidate.finish_reason]
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1]
    calls = [(part.function_call.name, part.function_call.args or {}) for part in parts if part.function_call]
    prompt = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    # Two recordings were shortened by hand and have no sum.
    said = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    total = usage.total_token_count or prompt + said
    return {
        "text": "".join(part.text for part in parts if part.text and not part.thought),
        "thought": "".join(part.text for part in parts if part.text and part.thought),
        "calls": calls,
        "finish": "tool_calls" if calls and reasons[-1].value == "STOP" else FINISHES[reasons[-1].value],
        "usage": (prompt, total - prompt, total),
        "cached": usage.cached_content_token_count or 0,
    }


ORACLES = {"anthropic": by_anthropic, "aws": by_boto, "google": by_genai}


def shown(recording, pieces=None, ends=True):
    """The answer of a provider that plays a recording, in pieces."""
    return Answer(recording.status, recording.headers, pieces if pieces is not None else [recording.body], ends)


@through_aqueduct
class Recorded(TapedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.all = recordings.load()

    def play(self, recording, pieces=None, ends=True):
        self.tape.play(lambda _: shown(recording, pieces, ends))
        status, body, whole = ask(recording.lane, recording.streams)
        return read(status, body, recording.streams) if whole else None

    def each(self, *lanes):
        return [recording for recording in self.all if recording.lane in lanes]

    def named(self, recording, **more):
        return self.subTest(f"{recording.lane} {recording.name}", **more)

    def test_there_are_recordings_of_every_lane(self):
        counts = {lane: sum(recording.lane == lane for recording in self.all) for lane in recordings.LANES}
        self.assertEqual([lane for lane, count in counts.items() if count < 3], [], counts)
        streams = {recording.lane for recording in self.all if recording.streams}
        self.assertEqual(streams, {"openai", "anthropic", "aws", "google"})

    def test_the_providers_own_sdk_reads_the_same(self):
        for recording in self.each(*ORACLES):
            with self.named(recording):
                got = self.play(recording)
                expected = ORACLES[recording.lane](self.tape, recording)
                self.assertEqual(got, expected)

    def test_cuts_between_pieces_change_nothing(self):
        chance = random.Random(7)
        for recording in self.each(*ORACLES):
            with self.named(recording):
                body, expected = recording.body, self.play(recording)
                splits = []
                for _ in range(RANDOM_CUTS):
                    at = sorted(chance.sample(range(len(body)), min(len(body), chance.randint(1, 40))))
                    splits.append([body[start:end] for start, end in zip([0, *at], [*at, len(body)])])
                if len(body) <= BYTE_BY_BYTE_MAX:
                    splits.append([body[index:index + 1] for index in range(len(body))])
                for pieces in splits:
                    self.assertEqual(self.play(recording, pieces), expected)

    def test_what_is_cut_off_is_whole_or_an_error(self):
        for lane in ORACLES:
            for streams in (False, True):
                chosen = [it for it in self.all if it.lane == lane and it.streams == streams and it.status == 200]
                for recording in sorted(chosen, key=lambda it: len(it.body))[:CUT_OFF_EVERYWHERE]:
                    with self.named(recording):
                        self.cut_off_everywhere(recording)

    def cut_off_everywhere(self, recording):
        body, whole = recording.body, self.play(recording)
        complete = 0
        for end in range(len(body)):
            for ends in (False, True):
                got = self.play(recording, [body[:end]], ends)
                if got is not None:
                    if recording.lane == "aws" and ends and got["usage"] is None:
                        # Bedrock counts in an event of its own, after the one that ends the message.
                        got = {**got, "usage": whole["usage"], "cached": whole["cached"]}
                    self.assertEqual(got, whole, f"cut off at {end} of {len(body)}, ends: {ends}")
                    complete += 1
        # Nothing but white space may be missing from what passes as whole.
        self.assertLess(complete, 20)

    def test_a_dialect_that_clients_speak_passes_byte_for_byte(self):
        for recording in self.each("openai"):
            with self.named(recording):
                self.tape.play(lambda _: shown(recording))
                status, body, whole = ask("openai", recording.streams)
                self.assertTrue(whole)
                if recording.status == 404:
                    # A model that is not there is told in our words.
                    self.assertEqual((status, json.loads(body)["error"]["code"]), (404, "model_not_found"))
                    continue
                self.assertEqual((status, body), (recording.status, recording.body))

    def test_embeddings_are_the_same_vectors_in_both_forms(self):
        for recording in self.each("google-embeddings"):
            with self.named(recording):
                self.tape.play(lambda _: shown(recording))
                vectors = [one["values"] for one in json.loads(recording.body)["embeddings"]]
                texts = ["recorded"] * len(vectors)
                status, body, _ = ask(recording.lane, False, "/embeddings", input=texts, encoding_format="float")
                answer = CreateEmbeddingResponse.model_validate_json(body, strict=True)
                self.assertEqual(status, 200)
                for one, vector in zip(answer.data, vectors, strict=True):
                    for got, expected in zip(one.embedding, vector, strict=True):
                        self.assertAlmostEqual(got, expected, 6)
                _, body, _ = ask(recording.lane, False, "/embeddings", input=texts, encoding_format="base64")
                for one, vector in zip(json.loads(body)["data"], vectors, strict=True):
                    packed = struct.unpack(f"<{len(vector)}f", base64.b64decode(one["embedding"]))
                    for got, expected in zip(packed, vector, strict=True):
                        self.assertAlmostEqual(got, expected, 6)

    def test_recorded_requests_are_taken_by_every_lane_or_refused_by_name(self):
        self.tape.play(lambda _: Answer.json({"error": {"message": "no answer here"}}, 400))
        for recording in self.each("openai"):
            with self.named(recording):
                given = json.loads(recording.request)
                for lane in ORACLES:
                    with self.subTest(lane):
                        status, body = self.send({**given, "model": MODELS[lane]})
                        error = json.loads(body)["error"]
                        if asked := self.tape.take():
                            texts = [message["content"] for message in given["messages"] if isinstance(message.get("content"), str)]
                            for text in texts:
                                self.assertIn(json.dumps(text, ensure_ascii=False)[1:-1].encode(), asked[0].body)
                            continue
                        self.assertEqual((status, error["code"]), (400, "unsupported_parameter"))
                        self.assertIn(error["param"], given)

    def send(self, body):
        connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=30)
        headers = {"authorization": "Bearer " + os.environ["AQUEDUCT_TAPED_KEY"], "content-type": "application/json"}
        connection.request("POST", URL.path + "/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        return status, body


if __name__ == "__main__":
    bed.main()
