"""The part of the Hub that a download needs, on 127.0.0.1: a repository's list of files, and the files."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"
ERRORS = {"GatedRepo": 403, "RepoNotFound": 401, "RevisionNotFound": 404}


def blob(content: bytes) -> str:
    """Git's SHA-1 of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves `files` (name -> content) as the repositories `me/tiny` and `datasets/me/tiny` at REVISION, its tag v1.

    lfs: names that are named by SHA-256, as the Hub's large files are. The other attributes say what goes wrong.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], lfs: tuple[str, ...] = ()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.lfs = files, lfs
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self.cut: dict[str, list[int]] = {}  # name -> after how many bytes its next answers break off
        self.swapped: dict[str, bytes] = {}  # name -> content that is sent in its place
        self.stated: dict[str, int] = {}  # name -> size that is stated in place of its own
        self.private_to = ""  # the only token that is let in, where there is one
        self.refusal = "GatedRepo"  # the answer to all other clients
        self.known_token = True  # False: the server answers that a token is invalid
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def etag(self, name: str) -> str:
        content = self.files[name]
        return hashlib.sha256(content).hexdigest() if name in self.lfs else blob(content)

    def sent(self, name: str) -> list[str]:
        """The Range of every GET of a file, "" for all of it."""
        return [span for method, path, span in self.requests if method == "GET" and path.endswith(f"/{name}")]

    def entry(self, name: str) -> dict:
        size = self.stated.get(name, len(self.files[name]))
        entry = {"type": "file", "path": name, "size": size, "oid": blob(self.files[name])}
        return entry | ({"lfs": {"oid": self.etag(name), "size": size, "pointerSize": 134}} if name in self.lfs else {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.requests.append((self.command, path, self.headers.get("Range", "")))
        parts = path.strip("/").split("/")
        listing = parts[0] == "api"
        owner_at = 2 if listing else 1 if parts[0] == "datasets" else 0
        repository, rest = "/".join(parts[owner_at : owner_at + 2]), parts[owner_at + 2 :]
        if len(rest) < 2 or rest[0] not in (("tree", "revision") if listing else ("resolve",)):
            self.refuse(404, "", f"this Hub knows no {path}")
            return
        verb, revision = rest[:2]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and not hub.known_token:
            self.refuse(401, "RepoNotFound", "Invalid credentials in Authorization header")
        elif repository != "me/tiny":
            self.refuse(ERRORS["RepoNotFound"], "RepoNotFound", "Repository not found")
        elif hub.private_to and token != hub.private_to:
            self.refuse(ERRORS[hub.refusal], hub.refusal, "Access is restricted")
        elif revision != REVISION and (verb, revision) != ("revision", "v1"):
            self.refuse(ERRORS["RevisionNotFound"], "RevisionNotFound", f"Invalid rev id: {revision}")
        elif verb == "revision":
            self.send_json({"id": repository, "sha": REVISION})
        elif verb == "tree":
            self.send_json([hub.entry(name) for name in hub.files])
        elif "/".join(rest[2:]) not in hub.files:
            self.refuse(404, "EntryNotFound", "Entry not found")
        else:
            self.send_file("/".join(rest[2:]), with_body)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, name: str, with_body: bool) -> None:
        hub = self.server
        content = hub.swapped.get(name, hub.files[name])
        span = self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        self.send_response(206 if span else 200)
        self.send_header("ETag", f'"{hub.etag(name)}"')
        self.send_header("X-Repo-Commit", REVISION)
        size = len(content) if with_body else hub.stated.get(name, len(content))
        self.send_header("Content-Length", str(size - start))
        self.send_header("Accept-Ranges", "bytes")
        if span:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if not with_body:
            return
        if hub.cut.get(name):
            self.wfile.write(content[start : start + hub.cut[name].pop(0)])
            self.wfile.flush()
            self.close_connection = True  # fewer bytes than were promised
            self.connection.shutdown(2)
        else:
            self.wfile.write(content[start:])
