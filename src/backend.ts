/** What waits and doorbells are made of in this process: epoll and eventfd, or poll and pipes. */
import { structs } from "../ffi/platform/index.ts";

const asked = process.env.CANCELFD_BACKEND;
if (asked !== undefined && asked !== "epoll" && asked !== "poll") {
  throw new Error(`CANCELFD_BACKEND is "epoll" or "poll", not "${asked}"`);
}
const hasEpoll = structs.epoll_event !== undefined;
if (asked === "epoll" && !hasEpoll) {
  throw new Error("CANCELFD_BACKEND=epoll: this platform has no epoll; poll is what works here");
}

/** Whether it is poll and pipes. */
export const usePoll = asked === "poll" || !hasEpoll;
