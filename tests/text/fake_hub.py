"""A Hugging Face hub on this machine: as much as the hub's own client asks of it when it takes a snapshot."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def fake_hub(repositories: dict[tuple[str, str], Path]) -> Iterator[str]:
    """Serve the folders of {(repository, revision): folder}; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0].lstrip("/")
            for (repository, revision), folder in repositories.items():
                if path.startswith(f"api/models/{repository}/tree/{revision}"):
                    return self.answer_json([_entry(file) for file in sorted(folder.iterdir()) if file.is_file()])
                if path.startswith(f"api/models/{repository}"):
                    siblings = [{"rfilename": file.name} for file in folder.iterdir() if file.is_file()]
                    counts = {"private": False, "downloads": 0, "likes": 0, "tags": []}  # asked for by clients of 0.24
                    return self.answer_json({"id": repository, "sha": revision, "siblings": siblings, **counts})
                if path.startswith(f"{repository}/resolve/{revision}/"):
                    return self.answer_file(folder / path.rsplit("/", 1)[-1], revision)
            if path:
                self.send_error(404)
                return None
            return self.answer_json({})

        def answer_json(self, content: object) -> None:
            self.answer(json.dumps(content).encode(), {"Content-Type": "application/json"})

        def answer_file(self, file: Path, revision: str) -> None:
            content = file.read_bytes()
            etag = hashlib.sha1(content).hexdigest()
            self.answer(content, {"ETag": f'"{etag}"', "X-Repo-Commit": revision, "Accept-Ranges": "bytes"})

        def answer(self, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _entry(file: Path) -> dict[str, object]:
    oid = hashlib.sha1(file.read_bytes()).hexdigest()
    return {"type": "file", "oid": oid, "size": file.stat().st_size, "path": file.name}
