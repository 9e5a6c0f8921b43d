import { expect, test } from "vitest";
import { EnvironmentError, ExitStatus, InputError, KorralError, UnsupportedError, UsageError } from "./errors.js";

test.each([
  [new UsageError("say it otherwise"), "UsageError", "usage", ExitStatus.usage],
  [new UsageError("say it otherwise", "no-such-model"), "UsageError", "no-such-model", ExitStatus.usage],
  [new UnsupportedError("link-type", "x"), "UnsupportedError", "link-type", ExitStatus.unsupported],
  [new InputError("truncated", "x"), "InputError", "truncated", ExitStatus.unusableInput],
  [new EnvironmentError("port-taken", "x"), "EnvironmentError", "port-taken", ExitStatus.environment],
  [new KorralError("odd", "x"), "KorralError", "odd", ExitStatus.internal],
])("%s carries its class's name, a code and an exit status", (error, name, code, status) => {
  expect(error).toBeInstanceOf(KorralError);
  expect([error.name, error.code, error.exitStatus]).toEqual([name, code, status]);
});
