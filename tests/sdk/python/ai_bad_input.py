"""What no SDK sends: every lane refuses it in the protocol's words, names the parameter, and sends nothing upstream."""

import http.client
import json
import os
import urllib.parse

import bed
from bed import through_aqueduct
from taped import Answer, TapedCase

URL = urllib.parse.urlsplit(os.environ.get("AQUEDUCT_AI_URL", ""))
SPOKEN = {"openai": "gpt-4o", "other": "served"}
TRANSLATED = {
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "aws": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
USER = {"role": "user", "content": "x"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MIB = 1 << 20


def post(body, tail="/chat/completions", key="AQUEDUCT_TAPED_KEY"):
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=60)
    headers = {"authorization": "Bearer " + os.environ[key], "content-type": "application/json"}
    try:
        connection.request("POST", URL.path + tail, body if isinstance(body, (bytes, str)) else json.dumps(body), headers)
    except (BrokenPipeError, ConnectionResetError):
        # It was answered before all of it was sent.
        pass
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@through_aqueduct
class BadInput(TapedCase):
    @staticmethod
    def script(_):
        return Answer.json({"error": {"message": "was asked"}}, 500)

    def refuses(self, body, status, param=None, code=None, **more):
        got, text = post(body, **more)
        self.assertEqual(got, status, text[:300])
        error = json.loads(text)["error"]
        self.assertGreaterEqual(set(error), {"message", "type", "param", "code"})
        self.assertTrue(error["message"] and error["type"])
        if param is not None:
            self.assertEqual(error["param"], param)
        if code is not None:
            self.assertEqual(error["code"], code)
        self.assertEqual(self.tape.take(), [])

    def test_a_model_that_two_parsers_may_read_differently(self):
        for lane, model in {**SPOKEN, **TRANSLATED}.items():
            rest = '"messages":[{"role":"user","content":"x"}]'
            for body in (
                f'{{"model":"{model}",{rest},"model":"other"}}',
                f'{{"model":"{model}",{rest},"mod\\u0065l":"other"}}',
                f'{{"\\u006dodel":"other","model":"{model}",{rest}}}',
                f'{{"model":"{model}","stream":true,{rest},"stream":false}}',
            ):
                with self.subTest(lane, body=body[:60]):
                    self.refuses(body, 400)

    def test_an_escaped_key_alone_is_the_key(self):
        for lane, model in {**SPOKEN, **TRANSLATED}.items():
            with self.subTest(lane):
                status, _ = post(f'{{"\\u006dodel":"{model}","messages":[{{"role":"user","content":"x"}}]}}')
                # Understood or refused, and where it is sent on, by the model that was checked.
                self.assertEqual((status == 400), not self.tape.take())

    def test_what_is_no_json_or_no_object(self):
        for body in ("", "nonsense", "[]", '"model"', "null", '{"model":"gpt-4o"', '{"model":"gpt-4o"} x', b'{"model":"\xff"}',
                     '{"messages":[]}', '{"model":7,"messages":[]}', '{"model":null}', '{"model":""}'):
            with self.subTest(body):
                self.refuses(body, 400)

    def test_wrong_types_and_values_are_named(self):
        cases = [
            ("temperature", {"temperature": "hot"}),
            ("temperature", {"temperature": 3}),
            ("top_p", {"top_p": -1}),
            ("max_tokens", {"max_tokens": "many"}),
            ("max_tokens", {"max_tokens": -1}),
            ("max_completion_tokens", {"max_completion_tokens": 1.5}),
            ("n", {"n": 0}),
            ("seed", {"seed": "x"}),
            ("stop", {"stop": 7}),
            ("stream", {"stream": "yes"}),
            ("stream_options", {"stream": True, "stream_options": {"unknown": 1}}),
            ("presence_penalty", {"presence_penalty": 9}),
            ("reasoning_effort", {"reasoning_effort": "huge"}),
            ("service_tier", {"service_tier": "gold"}),
            ("metadata", {"metadata": {"a": 1}}),
            ("user", {"user": 7}),
            ("parallel_tool_calls", {"parallel_tool_calls": "no"}),
            ("response_format", {"response_format": "json"}),
            ("tools", {"tools": {}}),
            ("tools[0].function.parameters", {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}),
            ("tools[0].type", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
            ("messages", {"messages": "x"}),
            ("messages", {"messages": []}),
            ("prompt", {"prompt": "x"}),
        ]
        for lane, model in TRANSLATED.items():
            for param, more in cases:
                with self.subTest(lane, **more):
                    self.refuses({"model": model, "messages": [USER], **more}, 400, param)

    def test_wrong_messages_are_named(self):
        cases = [
            ("messages[0].role", [{"role": "robot", "content": "x"}]),
            ("messages[0]", [{"role": 7, "content": "x"}]),
            ("messages[0]", [{"content": "x"}]),
            ("messages[0]", ["x"]),
            ("messages[0].content", [{"role": "user", "content": 7}]),
            ("messages[0].content[0].type", [{"role": "user", "content": [{"type": "video"}]}]),
            ("messages[0].tool_call_id", [{"role": "tool", "tool_call_id": "c", "content": "1"}]),
            ("messages[1].tool_call_id", [USER, {"role": "tool", "content": "1"}]),
            ("messages[2].tool_call_id", [USER, {"role": "assistant", "tool_calls": [CALL]},
                                          {"role": "tool", "tool_call_id": "other", "content": "1"}]),
            ("messages[0].tool_calls", [{"role": "user", "content": "x", "tool_calls": [CALL]}]),
            ("messages[1].tool_calls[0].function.arguments", [USER, {"role": "assistant", "tool_calls": [
                {**CALL, "function": {"name": "f", "arguments": "{nonsense"}}]}]),
            ("messages[1].tool_calls[0].id", [USER, {"role": "assistant", "tool_calls": [{**CALL, "id": ""}]}]),
        ]
        for lane, model in TRANSLATED.items():
            for param, messages in cases:
                for stream in (False, True):
                    with self.subTest(lane, messages=messages, stream=stream):
                        self.refuses({"model": model, "messages": messages, "stream": stream}, 400, param)

    def test_content_with_a_broken_source_is_refused(self):
        for lane, model in TRANSLATED.items():
            for url in ("data:image/png,plain", "data:;base64,", "file:///etc/passwd", "data:image/png;base64", "javascript:1"):
                with self.subTest(lane, url=url):
                    content = [{"type": "image_url", "image_url": {"url": url}}]
                    self.refuses({"model": model, "messages": [{"role": "user", "content": content}]}, 400)

    def test_a_model_of_the_path_stays_one_segment(self):
        status, _ = post({"model": ARN, "messages": [USER]})
        [asked] = self.tape.take()
        self.assertEqual(asked.path, "/model/" + urllib.parse.quote(ARN, safe="") + "/converse")
        self.assertEqual(status, 502)

    def test_a_model_with_letters_of_a_path_never_leaves_it(self):
        names = ["../../admin", "..", ".", "a/b", "a?key=1", "a#b", "a%2fb", "a\\b", "a b", "gemini:generateContent", "a\r\nb", "a\0b"]
        listed = {"models": [{"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]} for name in names]}
        for name in names:
            self.tape.script = lambda asked: Answer.json(listed if asked.method == "GET" else {"error": {"message": "asked"}},
                                                         200 if asked.method == "GET" else 500)
            with self.subTest(name):
                status, text = post({"model": name, "messages": [USER]}, key="AQUEDUCT_OPEN_KEY")
                error = json.loads(text)["error"]
                asked = [one for one in self.tape.take() if one.method == "POST"]
                if not asked:
                    self.assertIn((status, error["param"]), [(400, "model"), (404, "model")])
                    continue
                self.assertEqual(asked[0].path, f"/v1beta/models/{urllib.parse.quote(name, safe='')}:generateContent")

    def test_bodies_that_are_too_large_are_refused(self):
        # The limit is `limits.ai_body_bytes`, 32 MiB.
        for lane, model in {**SPOKEN, **TRANSLATED}.items():
            with self.subTest(lane):
                body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x" * (33 * MIB)}]})
                self.refuses(body, 413)

    def test_depth_without_end_is_refused(self):
        for lane, model in TRANSLATED.items():
            for deep in ("[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000):
                body = (f'{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function",'
                        f'"function":{{"name":"f","parameters":{{"x":{deep}}}}}}}]}}')
                with self.subTest(lane, deep=deep[:5]):
                    self.refuses(body, 400)

    def test_events_that_are_too_large_are_an_error_in_the_stream(self):
        # The limit of a translated event, 16 MiB.
        huge = "x" * (17 * MIB)
        events = {
            "anthropic": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
                         + huge.encode() + b'"}}\n\n',
            "google": b'data: {"candidates":[{"content":{"parts":[{"text":"' + huge.encode() + b'"}]}}]}\n\n',
            "aws": b"\x02\x00\x00\x00" + b"\0" * 8 + huge.encode(),
        }
        for lane, model in TRANSLATED.items():
            with self.subTest(lane):
                kind = "application/vnd.amazon.eventstream" if lane == "aws" else "text/event-stream"
                self.tape.script = lambda _: Answer(200, {"content-type": kind}, [events[lane]])
                status, text = post({"model": model, "messages": [USER], "stream": True})
                self.assertNotIn(b"[DONE]", text)
                self.assertTrue(status >= 500 or b'"error":' in text, text[-200:])
                self.assertLess(len(text), MIB)

    def test_embeddings_of_what_is_no_text(self):
        for model in ("gemini-embedding-001", "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0"):
            for given in (7, [], [1, 2], [[1]], [""] if "cohere" in model else None, {"a": 1}):
                with self.subTest(model, given=given):
                    self.refuses({"model": model, "input": given}, 400, "input", tail="/embeddings")
            self.refuses({"model": model}, 400, "input", tail="/embeddings")
            self.refuses({"model": model, "input": "x", "encoding_format": "hex"}, 400, "encoding_format", tail="/embeddings")

    def test_other_apis_are_not_there_where_they_are_translated(self):
        for lane, model in TRANSLATED.items():
            for tail, body in (("/responses", {"input": "x"}), ("/completions", {"prompt": "x"})):
                with self.subTest(lane, tail=tail):
                    self.refuses({"model": model, **body}, 501, tail=tail)


if __name__ == "__main__":
    bed.main()
