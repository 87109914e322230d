"""Web servers that misbehave: a run gives the right ids, or says in bounded time what is wrong with the server."""

import gzip
import http.server
import pathlib
import re
import socket
import threading
import time

from support import ASK, Box, Tally, generator, side_by_side, split_small

# A server that goes silent, or asks to come back later, is given up after a bound of the client's own (a minute, from which
# several reads may follow each other), which is longer than other commands may take.
PATIENT_SECONDS = 100.0
SILENT_SECONDS = 150.0


class Host:
    """A server of a model's files; `fault(handler, name, body, first, end)` may answer in its own way and returns True then."""

    def __init__(self, folder, fault=None, only=None):
        self.folder, self.fault, self.only, self.asked = pathlib.Path(folder), fault, only, 0

    def __enter__(self):
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                host.answer(self)

            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/model/"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler):
        name = handler.path.split("?")[0].removeprefix("/model/")
        path = self.folder / name
        self.asked += 1
        if "/" in name or not path.is_file():
            return send(handler, 404, b"", {})
        body = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        first, end = (int(match[1]), int(match[2] or len(body) - 1) + 1) if match else (0, len(body))
        end = min(end, len(body))
        if self.fault and (self.only is None or re.search(self.only, name)):
            if self.fault(self, handler, body, first, end, match is not None):
                return None
        if not match:
            return send(handler, 200, body, {"Accept-Ranges": "bytes"})
        return send(handler, 206, body[first:end], {"Content-Range": f"bytes {first}-{end - 1}/{len(body)}"})


def send(handler, status, body, headers, length=None):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
    return True


def ranged(body, first, end):
    return {"Content-Range": f"bytes {first}-{end - 1}/{len(body)}"}


def hang_up(handler):
    handler.close_connection = True
    try:
        handler.connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    return True


def status(code, headers=None):
    return lambda host, handler, body, first, end, part: send(handler, code, b"no\n", headers or {})


def sometimes(fault, every):
    return lambda host, *rest: host.asked % every == 0 and fault(host, *rest)


def whole(host, handler, body, first, end, part):
    return send(handler, 200, body, {})


def corrupt(host, handler, body, first, end, part):
    bad = bytearray(body[first:end])
    bad[len(bad) // 2] ^= 4
    return send(handler, 206 if part else 200, bytes(bad), ranged(body, first, end) if part else {})


def other_file(host, handler, body, first, end, part):
    return send(handler, 206 if part else 200, b"\0" * (end - first), ranged(body, first, end) if part else {})


def shifted(host, handler, body, first, end, part):
    return send(handler, 206, body[first:end], {"Content-Range": f"bytes {first + 1}-{end}/{len(body)}"})


def no_content_range(host, handler, body, first, end, part):
    return send(handler, 206, body[first:end], {})


def short(host, handler, body, first, end, part):
    return send(handler, 206, body[first : end - 1], ranged(body, first, end - 1))


def cut(host, handler, body, first, end, part):
    send(handler, 206 if part else 200, body[first : first + (end - first) // 2], ranged(body, first, end), end - first)
    return hang_up(handler)


def longer(host, handler, body, first, end, part):
    return send(handler, 206 if part else 200, body[first:end] + b"\0" * 4096, ranged(body, first, end))


def endless(host, handler, body, first, end, part):
    handler.send_response(206 if part else 200)
    for name, value in ranged(body, first, end).items():
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"\0" * 65536)
    except OSError:
        return hang_up(handler)


def zipped(host, handler, body, first, end, part):
    packed = gzip.compress(body[first:end])
    return send(handler, 206 if part else 200, packed, {**ranged(body, first, end), "Content-Encoding": "gzip"})


def bomb(host, handler, body, first, end, part):
    packed = gzip.compress(b"\0" * (256 << 20), 1)
    return send(handler, 200, packed, {"Content-Encoding": "gzip"})


def around(host, handler, body, first, end, part):
    return send(handler, 302, b"", {"Location": handler.path})


def away(host, handler, body, first, end, part):
    return send(handler, 302, b"", {"Location": "http://127.0.0.1:9/nobody"})


def to_a_file(host, handler, body, first, end, part):
    return send(handler, 302, b"", {"Location": "file:///etc/passwd"})


def closes(host, handler, body, first, end, part):
    return hang_up(handler)


def garbage(host, handler, body, first, end, part):
    handler.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n" * 8)
    return hang_up(handler)


def many_headers(host, handler, body, first, end, part):
    return send(handler, 206 if part else 200, body[first:end], {f"X-{n}": "x" * 8000 for n in range(200)})


def wrong_length(host, handler, body, first, end, part):
    return send(handler, 206, body[first:end], ranged(body, first, end), 1 << 62)


def web_page(host, handler, body, first, end, part):
    return send(handler, 200, b"<!doctype html><title>Log in</title>", {"Content-Type": "text/html"})


def silent(host, handler, body, first, end, part):
    time.sleep(SILENT_SECONDS)
    return hang_up(handler)


def trickle(host, handler, body, first, end, part):
    handler.send_response(206 if part else 200)
    for name, value in ranged(body, first, end).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(end - first))
    handler.end_headers()
    try:
        for byte in body[first:end]:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.5)
    except OSError:
        pass
    return hang_up(handler)


FAULTS = {
    "400": status(400), "401": status(401), "403": status(403), "404": status(404), "410": status(410), "416": status(416),
    "429 for ever": status(429, {"Retry-After": "1"}), "500": status(500), "503 for ever": status(503, {"Retry-After": "99999"}),
    "204": status(204), "304": status(304), "every second 503": sometimes(status(503, {"Retry-After": "0"}), 2),
    "every third hangs up": sometimes(closes, 3), "200 for ranges": whole, "every second corrupt": sometimes(corrupt, 2),
    "corrupt": corrupt, "zeros": other_file, "shifted": shifted, "no Content-Range": no_content_range, "a byte short": short,
    "cut": cut, "every third cut": sometimes(cut, 3), "longer": longer, "endless": endless, "gzip": zipped, "a bomb": bomb,
    "redirects for ever": around, "redirects to nobody": away, "redirects to a file": to_a_file, "hangs up": closes,
    "no HTTP": garbage, "many headers": many_headers, "wrong length": wrong_length, "a web page": web_page,
}
SLOW = {"silent": silent, "a byte at a time": trickle}
PLACES = {"manifest": r"^manifest", "checksums": r"\.sums$", "shards": r"\.safetensors$", "tokenizer": r"^tokenizer"}


def attack(count, seed):
    tally = Tally("hosts")
    cases = [(fault, place) for place in PLACES for fault in FAULTS]
    generator(seed, "hosts").shuffle(cases)
    # Slow ones wait, and cost no processor: all at once with the others.
    slow = [(fault, place) for fault in SLOW for place in ("manifest", "shards")]
    with Box() as box:
        model = split_small(box)
        ids = box.run("run", model, *ASK).ids

        def one(case):
            fault, place = case
            with Host(model, {**FAULTS, **SLOW}[fault], PLACES[place]) as host, Box() as own:
                limit = SILENT_SECONDS if fault in SLOW else PATIENT_SECONDS
                done = own.run("run", host.address, *ASK, seconds=limit)
                faults = done.faults()
                if done.code == 0 and done.ids != ids:
                    faults.append(f"silent: {done.ids} instead of {ids}")
                tally.add(f"{fault}, for {place}", faults, refused=done.code != 0)

        side_by_side(one, [*slow, *cases[: max(0, count - len(slow))]], workers=6)
    return tally
