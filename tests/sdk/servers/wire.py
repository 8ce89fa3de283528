"""A strict HTTP/1.1 server for stand-ins of clouds: keep-alive, exact framing, a record of every request.

What a cloud would refuse, or merely ignore, is refused and noted as a violation, so that a suite sees it although its
client was satisfied. Below `/.control/` the suites ask what came, look into the store and order failures; no bucket of
any cloud may begin with a dot.
"""

import http
import json
import re
import socketserver
import threading
import urllib.parse
from email.utils import formatdate
from http.server import ThreadingHTTPServer

HEAD_BYTES_MAX = 64 * 1024
CONTROL = "/.control/"


class Refused(Exception):
    """An answer other than success. `violation`: no sound client would have caused it."""

    def __init__(self, status, code, message="", headers=(), violation=False):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.headers, self.violation = list(headers), violation


def violation(message, status=400, code="InvalidArgument"):
    return Refused(status, code, message, violation=True)


class Closed(Exception):
    """The connection ended, or cannot go on."""


class Request:
    """A request with its whole body. Header values are text in UTF-8, several of one name joined by commas."""

    def __init__(self, method, target, lines):
        self.method, self.target, self.lines = method, target, lines
        self.path, _, self.query_text = target.partition("?")
        self.query = {}
        self.headers = {}
        self.body = b""

    def parse(self):
        for name, value in self.lines:
            self.headers[name] = f"{self.headers[name]},{value}" if name in self.headers else value
        if "#" in self.target or not self.path.startswith("/"):
            raise violation(f"the target {self.target!r}")
        for pair in filter(None, self.query_text.split("&")):
            name, _, value = (decode(part) for part in pair.partition("="))
            if name in self.query:
                raise violation(f"the parameter {name} twice")
            self.query[name] = value


def decode(text):
    """Reads percent-encoding strictly; `+` is itself."""
    try:
        return urllib.parse.unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise violation(f"{text!r} is not UTF-8", code="InvalidURI") from None


class Reply:
    def __init__(self, status=200, headers=(), body=b"", length=None):
        self.status, self.headers, self.body = status, list(headers), body
        # Of what a HEAD would have been answered with.
        self.length = len(body) if length is None else length


class Record:
    """Every request that came, in order, with what became of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests = []
        self.violations = []

    def add(self, request, status):
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        entry = {"method": request.method, "target": request.target, "status": status, "headers": headers,
                 "bytes": len(request.body)}
        with self.lock:
            self.requests.append(entry)

    def violate(self, what):
        with self.lock:
            self.violations.append(what)

    def since(self, number):
        with self.lock:
            return {"next": len(self.requests), "requests": self.requests[number:], "violations": list(self.violations)}


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    disable_nagle_algorithm = True
    rbufsize = 1 << 16
    timeout = 120

    def handle(self):
        try:
            while self.exchange():
                pass
        except (Closed, OSError):
            pass

    def exchange(self):
        request = self.read_head()
        if request is None:
            return False
        # After a broken head or body nobody knows where the next request begins.
        server, close, cut = self.server, True, None
        try:
            request.parse()
            request.body = self.read_body(request)
            close = "close" in request.headers.get("connection", "").lower()
            if request.path.startswith(CONTROL):
                self.send(request, self.control(request), False)
                return not close
            fault = server.take_fault(request)
            if fault and "cut" not in fault:
                raise Refused(fault["status"], fault["code"], "ordered by the suite", fault.get("headers", {}).items())
            reply = server.app.handle(request)
            cut = fault and fault["cut"]
        except Refused as refused:
            if refused.violation:
                server.record.violate(f"{request.method} {request.target}: {refused.message or refused.code}")
            reply = server.app.refusal(request, refused)
        server.record.add(request, reply.status)
        self.send(request, reply, close, cut)
        return not close and cut is None

    def line(self):
        line = self.rfile.readline(HEAD_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise Closed
        if not line.endswith(b"\r\n"):
            self.server.record.violate(f"a line that ends without CR: {line[:80]!r}")
            raise Closed
        return line[:-2]

    def read_head(self):
        first = self.rfile.readline(HEAD_BYTES_MAX)
        if not first:
            return None
        parts = first.rstrip(b"\r\n").decode("ascii", "replace").split(" ")
        if len(parts) != 3 or parts[2] != "HTTP/1.1":
            self.server.record.violate(f"the request line {first[:200]!r}")
            raise Closed
        lines, size = [], len(first)
        while line := self.line():
            size += len(line)
            name, colon, value = line.partition(b":")
            if not colon or name.strip() != name or size > HEAD_BYTES_MAX:
                self.server.record.violate(f"the header line {line[:200]!r}")
                raise Closed
            lines.append((name.decode("ascii").lower(), value.strip(b" \t").decode("utf-8", "surrogateescape")))
        return Request(parts[0], parts[1], lines)

    def read_body(self, request):
        headers = request.headers
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if "host" not in headers:
            raise violation("no host")
        if coding is None and length is None:
            if request.method in ("PUT", "POST", "PATCH"):
                raise violation("neither length nor chunks", 411, "MissingContentLength")
            return b""
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise violation(f"framing {coding!r} and {length!r}")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise violation(f"the length {length!r}")
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.chunks() if coding else self.exactly(int(length))

    def exactly(self, size):
        body = self.rfile.read(size)
        if len(body) != size:
            raise Closed
        return body

    def chunks(self):
        body = bytearray()
        while size := self.chunk_size():
            body += self.exactly(size)
            if self.line():
                raise Closed
        while self.line():
            pass
        return bytes(body)

    def chunk_size(self):
        size = self.line().split(b";")[0]
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", size):
            self.server.record.violate(f"the size of a chunk {size[:80]!r}")
            raise Closed
        return int(size, 16)

    def send(self, request, reply, close, cut=None):
        headers = [("Date", formatdate(usegmt=True)), ("Server", "UploadServer"), *reply.headers]
        if reply.status != 304 and reply.status != 204:
            headers.append(("Content-Length", str(reply.length)))
        if close:
            headers.append(("Connection", "close"))
        head = f"HTTP/1.1 {reply.status} {http.HTTPStatus(reply.status).phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        body = b"" if request.method == "HEAD" or reply.status in (204, 304) else reply.body
        self.wfile.write(head.encode("utf-8", "surrogateescape"))
        self.wfile.write(body[:cut])

    def control(self, request):
        """What the suites ask."""
        server, query = self.server, request.query
        what = request.path.removeprefix(CONTROL)
        if what == "requests":
            answer = server.record.since(int(query.get("since", 0)))
        elif what == "faults":
            server.set_faults(json.loads(request.body))
            answer = {}
        else:
            answer = server.app.control(what, query, json.loads(request.body or b"null"))
        status = 404 if answer is None else 200
        return Reply(status, [("Content-Type", "application/json")], json.dumps(answer).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address, app):
        super().__init__(address, Handler)
        self.app, self.record = app, Record()
        self.faults, self.lock = [], threading.Lock()

    def set_faults(self, faults):
        """Each: `method`, part of the `target`, and the `status`, `code`, `headers` of the answer to the next such; or after
        how many bytes its body is to be `cut` off."""
        with self.lock:
            self.faults = list(faults)

    def take_fault(self, request):
        with self.lock:
            for index, fault in enumerate(self.faults):
                if fault.get("method", request.method) == request.method and fault.get("target", "") in request.target:
                    return self.faults.pop(index)
        return None

    def handle_error(self, request, client_address):
        import traceback

        self.record.violate("the server itself failed: " + traceback.format_exc(limit=-3))
        super().handle_error(request, client_address)
