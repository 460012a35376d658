"""client.py PORT hello | send N | take: connects, and prints what it got, or its SHA-256, and that of what it sent."""
import hashlib
import os
import socket
import sys
import time

port, command, *rest = sys.argv[1:]
with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as peer:
    if command == "hello":
        for part in ("hello ", "from ", "Python"):
            time.sleep(0.05)
            peer.sendall(part.encode())
        peer.shutdown(socket.SHUT_WR)
    elif command == "send":
        data = os.urandom(int(rest[0]))
        print(hashlib.sha256(data).hexdigest())
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
    received = bytearray()
    while chunk := peer.recv(65536):
        received += chunk
    print(received.decode() if command == "hello" else hashlib.sha256(received).hexdigest())
