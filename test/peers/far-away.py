"""A server and its clients in network namespaces of their own, a delay apart:

    far-away.py MILLISECONDS SERVER... -- CLIENT...

Runs as the first process of its own user, network and pid namespaces, where the server is; the clients are in another
network namespace. A tun device in each, and packets go from one to the other after half of the round trip. The server
says its port first, CLIENT's "PORT" becomes that, and the clients get SIGTERM when the server has ended. Prints what both
said last. "probe" instead of all that: says whether this machine lets us.
"""
import ctypes, fcntl, heapq, os, select, signal, socket, struct, subprocess, sys, threading, time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
HERE, THERE = "10.77.0.1", "10.77.0.2"


def tun(address):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    for command in (["addr", "add", f"{address}/24", "dev", "tun0"], ["link", "set", "tun0", "up"], ["link", "set", "lo", "up"]):
        subprocess.run(["ip", *command], check=True)
    return fd


def forward(one, other, delay):
    """Every packet of each to the other one, `delay` seconds later."""
    waiting, number = [], 0
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for fd in select.select([one, other], [], [], timeout)[0]:
            while True:
                try:
                    packet = os.read(fd, 65536)
                except BlockingIOError:
                    break
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, other if fd == one else one, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except OSError:
                pass  # the device's queue is full: TCP sends it again


def clients(link):
    """The process in the other namespace: sends its device over `link`, then becomes the command that comes back."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    fd = tun(THERE)
    socket.send_fds(link, [b"x"], [fd])
    command = link.recv(65536).decode().split("\0")
    if command != [""]:
        os.execvp(command[0], command)
    os._exit(0)


def main():
    here, there = socket.socketpair()
    said = os.pipe()
    pid = os.fork()
    if pid == 0:
        here.close()
        os.dup2(said[1], 1)
        os.close(said[0])
        os.close(said[1])
        clients(there)
    there.close()
    os.close(said[1])
    one = tun(HERE)
    _, fds, _, _ = socket.recv_fds(here, 1, 1)
    if not fds:
        sys.exit("the clients have no device")
    if sys.argv[1] == "probe":
        print("possible")
        return
    threading.Thread(target=forward, args=(one, fds[0], int(sys.argv[1]) / 2000), daemon=True).start()
    split = sys.argv.index("--")
    server = subprocess.Popen(sys.argv[2:split], stdout=subprocess.PIPE, text=True)
    port = server.stdout.readline().strip()
    here.send("\0".join(port if word == "PORT" else word for word in sys.argv[split + 1 :]).encode())
    output = open(said[0])
    output.readline()  # they are up
    print(server.stdout.read().strip(), flush=True)
    server.wait()
    os.kill(pid, signal.SIGTERM)
    print(output.read().strip(), flush=True)


main()
