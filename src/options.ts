/** What users pass, checked before any syscall. */

/** Names from Node.js, Bun and elsewhere, and what they are called here. */
const aliases: Readonly<Record<string, string>> = {
  host: "hostname",
  address: "hostname",
  server: "hostname",
  ip: "hostname",
  socketPath: "path",
  unix: "path",
  cancelToken: "cancel",
  token: "cancel",
  source: "cancel",
  abortSignal: "signal",
  deadline: "timeout",
  timeout: "grace",
  error: "onError",
  max: "maxConnections",
  maxConns: "maxConnections",
  timeoutMs: "timeout",
  connectTimeout: "timeout",
  nodelay: "noDelay",
  tcpNoDelay: "noDelay",
  keepalive: "keepAlive",
  keepAliveInitialDelay: "keepAlive",
  autoSelectFamilyAttemptTimeout: "fallbackDelay",
  reuseport: "reusePort",
  exclusive: "reusePort",
  v6only: "ipv6Only",
};

/** How many letters have to change to make `b` of `a` (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

function meant(key: string, known: readonly string[]): string | undefined {
  const alias = aliases[key];
  if (alias !== undefined && known.includes(alias)) return alias;
  const near = known
    .map((name) => ({ name, changes: distance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.changes - b.changes)[0];
  return near !== undefined && near.changes <= Math.max(2, Math.floor(key.length / 3)) ? near.name : undefined;
}

/**
 * Which of two forms of options is meant: that with a `path`, or that with the `others`. Members that are undefined decide
 * only if nothing else does.
 */
export function hasPath(options: object, others: readonly string[]): options is { path: string } {
  if (typeof options !== "object" || options === null || !("path" in options)) return false;
  return options.path !== undefined || !others.some((key) => (options as Record<string, unknown>)[key] !== undefined);
}

/**
 * Throws `TypeError` for what is no object, and for the first key that `call` does not know. `elsewhere` are keys of its
 * other form that may be what was meant, and `absent` those that may be there if they are undefined.
 */
export function checkKeys(
  call: string,
  options: object,
  known: readonly string[],
  elsewhere: readonly string[] = [],
  absent: readonly string[] = elsewhere,
): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${call} takes an object of options: { ${known.slice(0, 3).join(", ")}, … }`);
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    if (absent.includes(key) && (options as Record<string, unknown>)[key] === undefined) continue;
    const name = meant(key, [...known, ...elsewhere]);
    throw new TypeError(
      `${call} has no option "${key}"${name === undefined ? `; it knows ${known.join(", ")}` : `; did you mean "${name}"?`}`,
    );
  }
}

export function checkPort(port: number, name: string): void {
  if (typeof port !== "number") throw new TypeError(`${name} is a number, not ${port === null ? "null" : typeof port}`);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new RangeError(`${name} is an integer from 0 to 65535, not ${port}`);
  }
}

export function checkText(text: string, name: string): void {
  if (typeof text !== "string") throw new TypeError(`${name} is a string, not ${text === null ? "null" : typeof text}`);
  if (text === "") throw new TypeError(`${name} is empty`);
}

/** A name or an address, which C is going to read. */
export function checkHostname(text: string, name: string): void {
  checkText(text, name);
  if (text.includes("\0")) throw new TypeError(`${name} contains a NUL`);
}

export function checkBoolean(value: boolean | undefined, name: string): void {
  if (value !== undefined && typeof value !== "boolean")
    throw new TypeError(`${name} is true or false, not ${typeof value}`);
}

export function checkCount(value: number, name: string, least: number, most: number): void {
  if (typeof value !== "number")
    throw new TypeError(`${name} is a number, not ${value === null ? "null" : typeof value}`);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} is an integer from ${least} to ${most}, not ${value}`);
  }
}

/** Milliseconds that something is to last. */
export function checkDuration(value: number, name: string): void {
  if (typeof value !== "number")
    throw new TypeError(`${name} is a number of milliseconds, not ${value === null ? "null" : typeof value}`);
  if (!(value >= 0)) throw new RangeError(`${name} is 0 milliseconds or more, not ${value}`);
}
