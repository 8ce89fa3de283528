"""SigV4 for S3 by hand, after AWS's published description: what no SDK will send on request.

Written apart from Aqueduct's own code, so that the two check each other.
"""

import base64
import hashlib
import hmac
import http.client
import ssl
import urllib.parse
import zlib
from datetime import datetime, timezone

EMPTY = hashlib.sha256(b"").hexdigest()


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


class Signer:
    """One request's signature, and from it the chain of its chunks."""

    def __init__(self, key_id, secret, region, when=None):
        self.key_id, self.secret, self.region = key_id, secret, region
        when = when or datetime.now(timezone.utc)
        self.date, self.time = when.strftime("%Y%m%d"), when.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.date}/{region}/s3/aws4_request"
        key = ("AWS4" + secret).encode()
        for part in (self.date, region, "s3", "aws4_request"):
            key = sign(key, part)
        self.key = key
        self.previous = ""

    def head(self, method, host, path, query, headers, payload):
        """Adds the three headers that every request carries, and signs all of them."""
        headers = {name.lower(): str(value) for name, value in headers.items()}
        headers.update({"host": host, "x-amz-date": self.time, "x-amz-content-sha256": payload})
        signed = sorted(headers)
        pairs = sorted(
            (urllib.parse.quote(name, safe="-_.~"), urllib.parse.quote(value, safe="-_.~")) for name, value in query
        )
        canonical = "\n".join(
            [method, path, "&".join(f"{n}={v}" for n, v in pairs)]
            + [f"{name}:{' '.join(headers[name].split())}" for name in signed]
            + ["", ";".join(signed), payload]
        )
        self.previous = sign(
            self.key, f"AWS4-HMAC-SHA256\n{self.time}\n{self.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        ).hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{self.scope}, "
            f"SignedHeaders={';'.join(signed)}, Signature={self.previous}"
        )
        return headers

    def chunk(self, data):
        text = "\n".join(
            ["AWS4-HMAC-SHA256-PAYLOAD", self.time, self.scope, self.previous, EMPTY, hashlib.sha256(data).hexdigest()]
        )
        self.previous = sign(self.key, text).hex()
        return self.previous

    def trailer(self, lines):
        text = "\n".join(
            ["AWS4-HMAC-SHA256-TRAILER", self.time, self.scope, self.previous, hashlib.sha256(lines).hexdigest()]
        )
        self.previous = sign(self.key, text).hex()
        return self.previous


def frame(data, signature=None):
    """One chunk of the aws-chunked coding."""
    extension = f";chunk-signature={signature}" if signature else ""
    return f"{len(data):x}{extension}\r\n".encode() + data + b"\r\n"


def send(endpoint, ca, method, path, headers, body, length=None):
    """Sends bytes as they are; `length` may lie about them. Answers (status, body)."""
    target = urllib.parse.urlsplit(endpoint)
    if target.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(target.hostname, target.port, timeout=20, context=context)
    else:
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body) if length is None else length))
        connection.endheaders()
        try:
            connection.send(body)
            if length is not None and length > len(body):
                connection.sock.shutdown(1)  # SHUT_WR: the rest will not come
        except (BrokenPipeError, ConnectionResetError):
            pass  # An early answer; it is read below.
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
