"""As much of the Hugging Face hub as its client asks for when it fetches a repository."""

import hashlib
import json
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from tests.servers import Reply, Request

REPOSITORY = "org/tiny"
REVISION = "0123456789abcdef0123456789abcdef01234567"
ENTRY = {"X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}

Answer = Callable[[Request, str], Reply | None]


class Hub:
    """One repository at one commit; `instead` sees every download first and may answer it."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.instead: Answer = lambda request, path: None
        self.downloads: list[tuple[str, str | None]] = []
        """Path and asked range, in order."""

    def __call__(self, request: Request) -> Reply:
        address = unquote(urlsplit(request.path).path)
        if not address.startswith((f"/{REPOSITORY}/", f"/api/models/{REPOSITORY}/")):
            return _refusal(404, "RepoNotFound")
        if REVISION not in address:
            return _refusal(404, "RevisionNotFound")
        if address.startswith("/api/"):
            listing = [_listed(path, data) for path, data in self.files.items()]
            return Reply(body=json.dumps(listing).encode(), headers=_JSON)
        return self._file(request, address.partition(f"/resolve/{REVISION}/")[2])

    def _file(self, request: Request, path: str) -> Reply:
        if path not in self.files:
            return _refusal(404, "EntryNotFound")
        data = self.files[path]
        headers = ENTRY | {"ETag": f'"{_etag(path, data)}"', "Content-Length": str(len(data))}
        if request.method == "HEAD":
            return Reply(headers=headers)
        asked = request.headers.get("range")
        self.downloads.append((path, asked))
        if (answer := self.instead(request, path)) is not None:
            return answer
        if asked is None:
            return Reply(body=data, headers=headers)
        start = int(asked.removeprefix("bytes=").partition("-")[0])
        part = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        rest = headers | part | {"Content-Length": str(len(data) - start)}
        return Reply(206, data[start:], rest)


_JSON = {"Content-Type": "application/json"}


def _refusal(status: int, code: str) -> Reply:
    return Reply(status, b"{}", _JSON | {"X-Error-Code": code, "X-Error-Message": code})


def _listed(path: str, data: bytes) -> dict[str, object]:
    entry = {"type": "file", "path": path, "size": len(data), "oid": _git_blob(data)}
    if path.endswith((".safetensors", ".bin")):
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
    return entry


def _etag(path: str, data: bytes) -> str:
    return _sha256(data) if path.endswith((".safetensors", ".bin")) else _git_blob(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
