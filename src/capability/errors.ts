import { KorralError } from "../util/errors.js";

/** The object is destroyed, or its capabilities were rescinded: this capability is Void for ever. */
export class VoidError extends KorralError {
  constructor(operation: string) {
    super("void", `${operation}: the capability is Void; its object was destroyed or rescinded`, 1);
  }
}

/** The capability does not carry the right that the operation needs. */
export class RightsError extends KorralError {
  constructor(operation: string, why: string) {
    super("rights", `${operation}: ${why}; use a capability with more rights`, 1);
  }
}

/** An argument is out of range or of the wrong kind. */
export class ArgumentError extends KorralError {
  constructor(operation: string, why: string, code = "argument") {
    super(code, `${operation}: ${why}`, 1);
  }
}

/** Too long, too short, or more than there is. */
export class LengthError extends ArgumentError {
  constructor(operation: string, why: string) {
    super(operation, why, "length");
  }
}

/** Not on the boundary that it must be on. */
export class AlignmentError extends ArgumentError {
  constructor(operation: string, why: string) {
    super(operation, why, "alignment");
  }
}

/** A space bank, or one of its parents, has sold all it may. */
export class QuotaError extends KorralError {
  constructor(wanted: number, left: number) {
    super(
      "quota",
      `${wanted} objects were asked for, but the bank or one of its parents has ${left} left: destroy some or raise the limit`,
      1,
    );
  }
}

/** Too many wait for the same already. */
export class BusyError extends KorralError {
  constructor(operation: string, limit: number) {
    super("busy", `${operation}: ${limit} wait already; try again when some have been served`, 1);
  }
}

/** Nothing is at this address of the space. */
export class AddressFault extends KorralError {
  constructor(
    operation: string,
    /** Byte offset in the space that was named. */
    readonly offset: number,
    why: string,
  ) {
    super("address-fault", `${operation}: offset ${offset} ${why}`, 1);
  }
}

/** A bank destroys only what it, or a bank below it, has sold. */
export class NotSoldHereError extends KorralError {
  constructor() {
    super("not-sold-here", "destroy: the object was not bought from this space bank or one below it", 1);
  }
}

/** The driver that served this request died before it replied. */
export class DriverDiedError extends KorralError {
  constructor(driver: string, why: string) {
    super("driver-died", `${driver} died: ${why}`, 1);
  }
}

/** An object of the store could not be read from or written to its disk. */
export class ObjectIoError extends KorralError {
  constructor(what: string, why: string) {
    super("object-io", `${what}: ${why}`, 1);
  }
}
