"""unix.py echo PATH: a server that sends back what it gets. unix.py send PATH N: sends N bytes, and prints whether they
came back. unix.py hold PATH: listens, and never accepts. A leading @ in PATH: an abstract name."""
import hashlib
import os
import socket
import sys
import threading
import time

command, path, *rest = sys.argv[1:]
address = "\0" + path[1:] if path.startswith("@") else path


def echo(client):
    with client:
        while chunk := client.recv(65536):
            client.sendall(chunk)


if command == "send":
    data = os.urandom(int(rest[0]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(30)
        peer.connect(address)
        threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR))).start()
        digest = hashlib.sha256()
        while chunk := peer.recv(65536):
            digest.update(chunk)
    print("the same" if digest.digest() == hashlib.sha256(data).digest() else "something else")
else:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(address)
    server.listen()
    print("up", flush=True)
    if command == "hold":
        time.sleep(60)
    while True:
        client, _ = server.accept()
        threading.Thread(target=echo, args=(client,), daemon=True).start()
