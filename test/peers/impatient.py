"""Clients that connect without a pause, and count what becomes of them: impatient.py PORT|PATH CLIENTS CONNECT_SECONDS [HOST].

Each sends a request and reads to the end. A connect that fails or takes too long is tried again: no handshake, no
promise. SIGTERM: no further ones; prints the counts when the last has come to its end.
"""
import json, signal, socket, sys, threading

place, clients, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
family, address = (socket.AF_UNIX, place) if "/" in place else (
    socket.AF_INET,
    (sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1", int(place)),
)
over = threading.Event()
lock = threading.Lock()
counts = {"answered": 0, "reset": 0, "hung": 0, "unanswered": 0, "refused": 0, "kept out": 0}
signal.signal(signal.SIGTERM, lambda *_: over.set())


def count(what):
    with lock:
        counts[what] += 1


def connect(client):
    client.settimeout(patience)
    try:
        client.connect(address)
        return True
    except (ConnectionRefusedError, FileNotFoundError):
        count("refused")
        over.wait(0.001)
    except (TimeoutError, BlockingIOError):  # the latter: the queue of a Unix socket is full
        count("kept out")
    return False


def talk(client):
    client.settimeout(20)
    try:
        client.sendall(b"?")
        answer = b""
        while chunk := client.recv(100):
            answer += chunk
        return "answered" if answer == b"ok" else "unanswered"
    except TimeoutError:
        return "hung"
    except OSError:
        return "reset"


def run():
    while not over.is_set():
        with socket.socket(family) as client:
            if connect(client):
                count(talk(client))


threads = [threading.Thread(target=run) for _ in range(clients)]
for thread in threads:
    thread.start()
print("up", flush=True)
over.wait()
for thread in threads:
    thread.join()
print(json.dumps(counts), flush=True)
