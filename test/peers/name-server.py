"""A name server for a network namespace of its own, on 127.0.0.1:53.

slow.*: silence, as of a server that is down. here.*: 127.0.0.1 and 127.0.0.2. Anything else: no such name.
"""
import socket

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("up", flush=True)
while True:
    query, client = server.recvfrom(512)
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].decode())
        end += 1 + query[end]
    is_a = query[end + 1 : end + 3] == b"\0\1"
    if labels[0] == "slow":
        continue
    found = labels[0] == "here"
    answers = [b"\x7f\0\0\1", b"\x7f\0\0\2"] if found and is_a else []
    header = query[:2] + (b"\x85\x80" if found else b"\x85\x83") + b"\0\1" + bytes([0, len(answers)]) + b"\0\0\0\0"
    records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + address for address in answers)
    server.sendto(header + query[12 : end + 5] + records, client)
