/**
 * Calls a function of the user's that is told something. What it throws, or is rejected with, is nobody's but the
 * programmer's and must not end a server: it is printed. Never rejected.
 */
export async function tell<A extends unknown[]>(listener: (...args: A) => unknown, ...args: A): Promise<void> {
  try {
    await listener(...args);
  } catch (failure) {
    console.error(failure);
  }
}
