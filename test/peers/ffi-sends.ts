/** Sends with each call of the binding, with and without flags of the caller's, and prints nothing. */
import {
  AF_UNIX,
  accept4,
  bind,
  close,
  connect,
  getsockname,
  listen,
  MSG_DONTWAIT,
  SOCK_STREAM,
  send,
  sendmsg,
  socket,
} from "../../ffi/index.ts";

const listener = socket(AF_UNIX, SOCK_STREAM);
bind(listener, { path: `\0cancelfd-test-${process.pid}` });
listen(listener, 1);
const client = socket(AF_UNIX, SOCK_STREAM);
connect(client, getsockname(listener));
const server = accept4(listener)!;

const [one, two] = [Buffer.from("quiet one"), Buffer.from("quiet two")];
send(client, one);
send(client, one, MSG_DONTWAIT);
sendmsg(client, [one, two]);
sendmsg(client, [one, two], 0, 0, MSG_DONTWAIT);
for (const fd of [server, client, listener]) close(fd);
