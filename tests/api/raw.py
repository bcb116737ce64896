"""Requests as raw bytes over TLS, for what a well-behaved client cannot send."""
import socket
import ssl
import time
import urllib.parse


def exchange(gateway, data, timeout=8.0, then=None, bodyless=False):
    """Sends the bytes, and with then=(seconds, more) others so much later; (status, headers, body) of
    the first answer, or None where the connection was closed without one."""
    at = urllib.parse.urlsplit(gateway.url)
    sock = socket.create_connection((at.hostname, at.port), timeout=timeout)
    if at.scheme == "https":
        sock = ssl.create_default_context(cafile=gateway.ca).wrap_socket(
            sock, server_hostname=at.hostname)
    try:
        try:
            sock.sendall(data)
            if then:
                time.sleep(then[0])
                sock.sendall(then[1])
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # refused before all was read: the answer may be there
        return read_answer(sock, bodyless)
    finally:
        sock.close()


def read_answer(sock, bodyless=False):
    """bodyless: that of a HEAD or a 304, whose Content-Length is not of bytes that follow."""
    got = b""
    try:
        while b"\r\n\r\n" not in got:
            part = sock.recv(65536)
            if not part:
                return None
            got += part
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (l.partition(":") for l in lines[1:])}
        length = 0 if bodyless else int(headers.get("content-length", "0"))
        while len(body) < length:
            part = sock.recv(65536)
            if not part:
                break
            body += part
        return int(lines[0].split()[1]), headers, body
    except (ConnectionResetError, ssl.SSLError):
        return None
