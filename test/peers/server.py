"""A server that does what the first line of a connection says. Prints its port."""
import hashlib
import os
import socketserver
import time


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        command, _, argument = self.rfile.readline().decode().strip().partition(" ")
        if command == "hello":  # waits, writes, waits, writes
            for part in ("hello ", argument, "\n"):
                time.sleep(0.05)
                self.wfile.write(part.encode())
        elif command == "send":
            data = os.urandom(int(argument))
            print(hashlib.sha256(data).hexdigest())
            self.wfile.write(data)
        elif command == "take":
            digest = hashlib.sha256()
            while chunk := self.rfile.read(65536):
                digest.update(chunk)
            self.wfile.write(digest.hexdigest().encode())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1])
    server.serve_forever()
