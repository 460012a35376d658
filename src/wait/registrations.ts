/** The descriptors that stand in a thread's selector, by the tag that comes back with their events. */

/** Who is told what a descriptor is ready for: READABLE, WRITABLE or both. */
export interface Ready {
  ready(readiness: number): void;
}

/** A descriptor in the selector. */
export class Registration {
  readonly fd: number;
  owner: Ready;
  readonly tag: number;
  interest: number;
  readonly isDoorbell: boolean;

  constructor(fd: number, owner: Ready, tag: number, interest: number, isDoorbell: boolean) {
    this.fd = fd;
    this.owner = owner;
    this.tag = tag;
    this.interest = interest;
    this.isDoorbell = isDoorbell;
  }
}

/** A tag is a place in the table, and above these bits a number, one up each time: a stale event has another one. */
const PLACES = 1 << 21;
/** So that a tag has 53 bits: by the time that a number comes again, no event of its first use is under way. */
const SERIALS = 2 ** 32;

export class Registrations {
  readonly #table: (Registration | undefined)[] = [];
  readonly #free: number[] = [];
  #serial = 0;

  add(fd: number, owner: Ready, interest: number, isDoorbell: boolean): Registration {
    this.#serial = (this.#serial + 1) % SERIALS;
    const place = this.#free.pop() ?? this.#table.push(undefined) - 1;
    const registration = new Registration(fd, owner, this.#serial * PLACES + place, interest, isDoorbell);
    this.#table[place] = registration;
    return registration;
  }

  /** False if it had gone before. */
  remove(registration: Registration): boolean {
    const place = registration.tag % PLACES;
    if (this.#table[place] !== registration) return false;
    this.#table[place] = undefined;
    this.#free.push(place);
    return true;
  }

  /** Undefined: what had this tag is gone, and its place may be another's. */
  at(tag: number): Registration | undefined {
    const registration = this.#table[tag % PLACES];
    return registration?.tag === tag ? registration : undefined;
  }

  /** Those that are there now, whatever comes and goes meanwhile. */
  all(): Registration[] {
    return this.#table.filter((one) => one !== undefined);
  }
}
