#!/usr/bin/env python3
"""Takes what Postern's webhook sends: verifies the signature, takes each delivery once.

    POSTERN_KEY=... python3 receiver.py DIRECTORY PORT
"""
import base64, email, hashlib, hmac, json, os, pathlib, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ["POSTERN_KEY"].encode()
ROOT = pathlib.Path(sys.argv[1])


def signed(header, body):
    """Postern-Signature: t=SECONDS,v1=HEX, over the seconds, a dot and the body."""
    fields = dict(f.split("=", 1) for f in header.split(",") if "=" in f)
    if not fields.get("t", "").isdigit() or abs(time.time() - int(fields["t"])) > 300:
        return False  # old: somebody may have kept it
    want = hmac.new(KEY, fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(want, fields.get("v1", ""))


def contents(content_type, body):
    """The notice, and the content of each of its files."""
    if content_type.startswith("application/json"):
        notice = json.loads(body)
        return notice, [base64.b64decode(f["content"]) for f in notice["files"]]
    form = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in form.get_payload()}
    notice = json.loads(parts["notice"])
    return notice, [parts[f["part"]] for f in notice["files"]]


def take(key, notice, files):
    """Into a directory of its own, which gets its name last: a repeated one is known by it."""
    final = ROOT / hashlib.sha256(key.encode()).hexdigest()
    if notice.get("test") or final.exists():
        return
    work = ROOT / f".{final.name}.{os.urandom(4).hex()}"
    work.mkdir(parents=True)
    for i, (entry, content) in enumerate(zip(notice["files"], files), 1):
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ValueError("not what the notice says")
        (work / f"{i}-{entry['name']}").write_bytes(content)
    (work / "manifest.json").write_text(json.dumps(notice["manifest"]))
    os.sync()
    try:
        work.rename(final)
    except OSError:  # the same delivery came twice at a time, and the other was first
        if not final.exists():
            raise


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not signed(self.headers.get("Postern-Signature", ""), body):
            return self.send_error(401)
        take(self.headers["Idempotency-Key"], *contents(self.headers["Content-Type"], body))
        self.send_response(204)  # only now: Postern takes this for "it is safe with me"
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
