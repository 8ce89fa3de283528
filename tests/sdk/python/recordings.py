"""What real providers once answered, out of the source packages of others' tests (`ai/recorded.txt`), by the lane.

The packages are downloaded by `tests/sdk/run` and never kept in this repository. Their cassettes come in three forms.
"""

import gzip
import os
import pathlib
import re
import tarfile
import urllib.parse

import yaml

FOLDER = pathlib.Path(os.environ.get("AQUEDUCT_RECORDED", "/nonexistent"))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# By lane: the paths whose answers it reads, and what of them stream.
LANES = {
    "openai": (re.compile(r"^/v1/chat/completions$"), None),
    "openai-embeddings": (re.compile(r"^/v1/embeddings$"), None),
    "anthropic": (re.compile(r"^/v1/messages$"), None),
    "aws": (re.compile(r"^/model/[^/]+/converse(-stream)?$"), re.compile(r"-stream$")),
    "google": (re.compile(r":(stream)?[gG]enerateContent$"), re.compile(r":stream")),
    "google-embeddings": (re.compile(r":batchEmbedContents$"), None),
}
TYPES = {"aws": "application/vnd.amazon.eventstream"}


class Recording:
    def __init__(self, name, lane, path, request, status, body, streams):
        self.name, self.lane, self.path, self.request = name, lane, path, request
        self.status, self.body, self.streams = status, body, streams

    @property
    def headers(self):
        """A content type alone: others are redacted in some cassettes."""
        return {"content-type": TYPES.get(self.lane, "text/event-stream") if self.streams else "application/json"}

    @property
    def is_beta(self):
        return "beta=true" in self.path


def load():
    """Every recording, in the order of its name."""
    found = []
    for package in sorted(FOLDER.glob("*.tar.gz")):
        with tarfile.open(package) as files:
            for member in files:
                if "/cassettes/" in member.name and member.name.endswith((".yaml", ".yaml.gz")):
                    text = files.extractfile(member).read()
                    if member.name.endswith(".gz"):
                        text = gzip.decompress(text)
                    name = member.name.partition("/cassettes/")[2].partition(".yaml")[0]
                    found += interactions(name, yaml.load(text, LOADER))
    return sorted(found, key=lambda recording: recording.name)


def interactions(name, cassette):
    if "interactions" in cassette:
        pairs = [(one["request"], one["response"]) for one in cassette["interactions"]]
    else:
        pairs = list(zip(cassette["requests"], cassette["responses"]))
    for number, (request, response) in enumerate(pairs):
        url = urllib.parse.urlsplit(request["uri"])
        path = url.path + (f"?{url.query}" if url.query else "")
        for lane, (paths, streams) in LANES.items():
            if not paths.search(url.path):
                continue
            body = raw(response["body"])
            status = response["status"]
            status = status["code"] if isinstance(status, dict) else status
            is_stream = bool(streams.search(url.path)) if streams else body.lstrip().startswith((b"event:", b"data:"))
            yield Recording(f"{name}-{number}", lane, path, raw(request["body"]), status, body, is_stream and status == 200)


def raw(body):
    body = body["string"] if isinstance(body, dict) and "string" in body else body
    if body is None:
        return b""
    return body if isinstance(body, bytes) else body.encode()
