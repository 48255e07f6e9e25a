"""A webhook server as a program: `hooks.py HOST PORT CERT KEY`; prints `ready` when it listens.

/mutate      adds an annotation to objects labelled mutate=yes, sends a broken patch for `badly`
/validate    denies by label deny: `plain`, `code` (a status of its own), `silent`; warns by `warn`
/deny        denies
/echo        denies objects labelled or annotated so, and says in base64 what it was sent
/broken, /nonsense, /wrong-uid, /slow    what they say
"""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import sys
import time
from typing import Any

_SLOW_S = 3.0


def review(path: str, sent: dict[str, Any]) -> dict[str, Any]:
    """Returns the response to an AdmissionReview."""
    request = sent["request"]
    found = request.get("object") or request.get("oldObject") or {}
    meta = found.get("metadata") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    deny = labels.get("deny", "no")
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    if deny == "begun":
        return response | {"allowed": False, "status": {"message": "begun"}}
    if path == "/mutate" and "mutate" in labels:
        patch = [{"op": "add", "path": "/metadata/annotations", "value": {"by": "hook"}}]
        if labels["mutate"] == "badly":
            patch = [{"op": "remove", "path": "/no/such"}]
        encoded = base64.b64encode(json.dumps(patch).encode()).decode()
        response |= {"patchType": "JSONPatch", "patch": encoded}
    elif path == "/validate" and deny != "no":
        status = {
            "plain": {"message": "not this one"},
            "code": {"message": "too many", "code": 429, "reason": "TooManyRequests"},
        }.get(deny)
        response |= {"allowed": False} | ({"status": status} if status else {})
    elif path == "/deny":
        response |= {"allowed": False, "status": {"message": "never"}}
    elif path == "/echo" and (deny == "yes" or "deny-delete" in annotations):
        if request["operation"] == "DELETE" or deny == "yes":
            text = base64.b64encode(json.dumps(sent).encode()).decode()
            response |= {"allowed": False, "status": {"message": text}}
    elif path == "/wrong-uid":
        response["uid"] = "other"
    if labels.get("warn"):
        response["warnings"] = ["think again", "twice"]
    return response


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        status, body = 200, b"nonsense"
        labels = ((sent["request"].get("object") or {}).get("metadata") or {}).get("labels") or {}
        if labels.get("deny") == "begun":
            path = "/deny"
        if path == "/broken":
            status = 500
        elif path != "/nonsense":
            if path == "/slow":
                time.sleep(_SLOW_S)
            answer = {
                "apiVersion": sent["apiVersion"],
                "kind": sent["kind"],
                "response": review(path, sent),
            }
            body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main(host: str, port: str, cert: str, key: str) -> None:
    """Serves until it is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
