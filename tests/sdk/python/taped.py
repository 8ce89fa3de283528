"""Between Aqueduct and a provider: notes every request as it came, and hands it on to aimock, or answers by a script.

The resources of the repository `taped` have their URLs here: a suite that asks for one of their models listens first, with
`TapedCase` does. aimock's own journal shows requests in a form of its own; this shows the bytes.

`taped.py COMMAND...` does so around a suite of another language, which asks GET /.tape what came since it last did.
"""

import base64
import http.client
import http.server
import json
import os
import pathlib
import struct
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

import bed

PORT = int(os.environ.get("AQUEDUCT_TAPE_PORT", "0"))
MOCK = urllib.parse.urlsplit(os.environ.get("AQUEDUCT_MOCK", "http://127.0.0.1:0"))
# Of one hop alone, or made anew.
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


class Asked:
    """A request as it came."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Answer:
    """An answer by script: `pieces` are sent one by one, and `ends` says whether their end is told."""

    def __init__(self, status=200, headers=None, pieces=(), ends=True):
        self.status, self.headers, self.pieces, self.ends = status, headers or {}, list(pieces), ends

    @classmethod
    def json(cls, value, status=200):
        return cls(status, {"content-type": "application/json"}, [json.dumps(value).encode()])


class Tape:
    """Listens while it is entered. `script(asked)` makes an Answer, or None for aimock's."""

    def __init__(self, script=None, port=PORT):
        self.script, self.asked = script, []
        tape = self

        class Bound(_Handler):
            pass

        Bound.tape = tape
        self.server = _Server(("127.0.0.1", port), Bound)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        for connection in self.server.connections:
            connection.close()

    def play(self, script):
        """Answers by this from now on, and forgets what was asked."""
        self.script, self.asked = script, []

    def take(self):
        """The requests since the last call."""
        asked, self.asked = self.asked, []
        return asked


class TapedCase(bed.Case):
    """A case whose providers are a tape: one for all of its tests, as Aqueduct keeps connections."""

    script = None

    @classmethod
    def setUpClass(cls):
        cls.tape = cls.enterClassContext(Tape())

    def setUp(self):
        self.tape.play(type(self).script)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connections = []

    def get_request(self):
        accepted = super().get_request()
        self.connections.append(accepted[0])
        return accepted

    def handle_error(self, *_):
        # Who leaves in the middle is what some tests are about.
        pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 0

    def do_POST(self):
        asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, self.body())
        self.tape.asked.append(asked)
        answer = self.tape.script(asked) if self.tape.script else None
        if answer is None:
            self.hand_on(asked)
        else:
            self.send(answer.status, answer.headers, answer.pieces, answer.ends)

    def do_GET(self):
        if self.path != "/.tape":
            return self.do_POST()
        seen = [{"path": asked.path, "body": asked.body.decode(errors="replace")} for asked in self.tape.take()]
        self.send(200, {"content-type": "application/json"}, [json.dumps(seen).encode()], True)

    def body(self):
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        if "transfer-encoding" not in self.headers:
            return b""
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def hand_on(self, asked):
        upstream = http.client.HTTPConnection(MOCK.hostname, MOCK.port, timeout=60)
        headers = {name: value for name, value in asked.headers.items() if name not in HOP}
        try:
            upstream.request(asked.method, asked.path, asked.body or None, headers)
            answer = upstream.getresponse()
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        broken = []

        def pieces():
            try:
                while piece := answer.read1(65536):
                    yield piece
            except (OSError, http.client.HTTPException):
                broken.append(True)

        self.send(answer.status, {name.lower(): value for name, value in answer.getheaders()}, pieces(), lambda: not broken)

    def send(self, status, headers, pieces, ends):
        head = {name: value for name, value in headers.items() if name.lower() not in HOP}
        self.send_response_only(status)
        for name, value in {**head, "transfer-encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in pieces:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if ends() if callable(ends) else ends:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def log_message(self, *_):
        pass


def embeddings(asked):
    """What Google's, Amazon's, Cohere's and OpenAI's models of embeddings answer: a text's length, and 0.5. The mock does not
    speak for all of them."""
    path = urllib.parse.unquote(asked.path)
    if path.endswith(":batchEmbedContents"):
        texts = ["".join(part["text"] for part in request["content"]["parts"]) for request in asked.json["requests"]]
        return Answer.json({"embeddings": [{"values": [len(text), 0.5]} for text in texts]})
    if path == "/model/amazon.titan-embed-text-v2:0/invoke":
        return Answer.json({"embedding": [len(asked.json["inputText"]), 0.5], "inputTextTokenCount": 3})
    if path == "/model/cohere.embed-v4:0/invoke":
        answer = Answer.json({"embeddings": {"float": [[len(text), 0.5] for text in asked.json["texts"]]}})
        answer.headers["x-amzn-bedrock-input-token-count"] = "9"
        return answer
    if path.endswith("/embeddings"):
        given = asked.json["input"]
        vectors = [[float(len(text)), 0.5] for text in ([given] if isinstance(given, str) else given)]
        if asked.json.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack("<2f", *vector)).decode() for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return Answer.json({"object": "list", "data": data, "model": asked.json["model"], "usage": usage})
    return None


def sdk_fixtures():
    """Tells aimock what the suites of SDKs ask it."""
    fixtures = pathlib.Path(__file__).resolve().parents[1] / "ai/fixtures.json"
    mock("/__aimock/fixtures", {"fixtures": json.loads(fixtures.read_text())})


def mock(path, body=None):
    """aimock's own interface."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(MOCK.geturl() + path, data), timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    if not PORT:
        sys.exit(subprocess.run(sys.argv[1:]).returncode)
    sdk_fixtures()
    with Tape(embeddings):
        sys.exit(subprocess.run(sys.argv[1:]).returncode)
