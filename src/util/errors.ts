/**
 * Exit status of the command line for each family of errors (documented in the README).
 */
export const ExitStatus = {
  fine: 0,
  driverFailed: 1,
  usage: 2,
  findings: 3,
  unsupported: 4,
  unusableInput: 5,
  environment: 6,
  internal: 70,
  timedOut: 124,
} as const;

export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

/**
 * Every error that Korral raises on purpose: a stable `code` for programs and a sentence that tells the user what to do.
 * Anything else that reaches the command line is a defect of Korral itself (status 70).
 */
export class KorralError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly exitStatus: ExitStatus = ExitStatus.internal,
  ) {
    super(message);
    this.name = new.target.name;
  }
}

/** The command line cannot be understood. */
export class UsageError extends KorralError {
  constructor(message: string, code = "usage") {
    super(code, message, ExitStatus.usage);
  }
}

/** The input is well-formed, but of a kind that Korral does not handle (link type, kernel, instruction…). */
export class UnsupportedError extends KorralError {
  constructor(code: string, message: string) {
    super(code, message, ExitStatus.unsupported);
  }
}

/** A file, capture, image or archive is broken; the message names the byte offset or the part. */
export class InputError extends KorralError {
  constructor(code: string, message: string) {
    super(code, message, ExitStatus.unusableInput);
  }
}

/** The surroundings refuse: a port is taken, a file cannot be opened, a package client is missing. */
export class EnvironmentError extends KorralError {
  constructor(code: string, message: string) {
    super(code, message, ExitStatus.environment);
  }
}
