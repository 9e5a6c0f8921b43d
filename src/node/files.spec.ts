import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import { EnvironmentError, InputError, UsageError } from "../util/errors.js";
import { blocking, mortal } from "./blocking.js";
import { createCaptureFile, LateCapture, openCaptureFile } from "./capture-file.js";
import { inputFileError, outputFileError } from "./file-errors.js";
import { checkOutputFile, FileSink } from "./file-sink.js";
import { FileSource } from "./file-source.js";

const folder = mkdtempSync(join(tmpdir(), "korral-files-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const systemError = (code: string) => Object.assign(new Error(code), { code, syscall: "open" });

describe("FileSource", () => {
  test("reads a file from front to end", () => {
    writeFileSync(at("source"), frame(1000));
    using source = new FileSource(at("source"));
    const into = new Uint8Array(600);
    expect(source.read(into)).toBe(600);
    expect(into).toEqual(frame(1000).slice(0, 600));
    expect(source.read(into)).toBe(400);
    expect(source.read(into)).toBe(0);
  });

  test("missing files and directories are unusable input, by name", () => {
    for (const [name, code] of [
      ["nowhere", "file-missing"],
      ["nowhere/x", "file-missing"],
      ["source/x", "file-missing"],
      ["", "file-directory"],
    ]) {
      try {
        new FileSource(at(name));
        expect.unreachable();
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
        expect(error).toMatchObject({ code, exitStatus: 5, message: expect.stringContaining(at(name)) });
      }
    }
  });
});

describe("FileSink", () => {
  test("creates and overwrites", () => {
    writeFileSync(at("sink"), "what was here before");
    using sink = new FileSink(at("sink"));
    sink.write(frame(10, 1));
    sink.write(frame(100_000, 2));
    sink.close();
    sink.close();
    expect(readFileSync(at("sink")).length).toBe(100_010);
    expect(new Uint8Array(readFileSync(at("sink")).subarray(0, 10))).toEqual(frame(10, 1));
  });

  test("never overwrites an input, by whatever name", () => {
    writeFileSync(at("input"), "precious");
    symlinkSync("input", at("link"));
    for (const name of ["input", "link", "./input"]) {
      expect(() => new FileSink(`${folder}/${name}`, [at("other"), at("input")])).toThrow(UsageError);
    }
    expect(readFileSync(at("input"), "utf8")).toBe("precious");
  });

  test("what would keep it from being written is found, and nothing changes", () => {
    writeFileSync(at("earlier"), "what was here before");
    symlinkSync("later", at("dangling"));
    for (const name of ["earlier", "later", "dangling"]) expect(() => checkOutputFile(at(name))).not.toThrow();
    execFileSync("mkfifo", [at("pipe")]);
    for (const name of [at("pipe"), "/dev/null", "-"]) expect(() => checkOutputFile(name)).not.toThrow();
    expect(readFileSync(at("earlier"), "utf8")).toBe("what was here before");
    expect([existsSync(at("later")), lstatSync(at("dangling")).isSymbolicLink()]).toEqual([false, true]);
    expect(() => checkOutputFile(folder)).toThrow("it is a directory");
    expect(() => checkOutputFile(at("nowhere/x"))).toThrow("its directory does not exist");
    expect(() => checkOutputFile(at("earlier/x"))).toThrow("a part of its path is no directory");
    expect(() => checkOutputFile(at("earlier"), [at("earlier")])).toThrow(UsageError);
  });

  test("what cannot be written is a matter of the surroundings", () => {
    mkdirSync(at("folder"));
    expect(() => new FileSink(at("folder"))).toThrow(EnvironmentError);
    expect(() => new FileSink(at("nowhere/x"))).toThrow("its directory does not exist");
    const full = new FileSink("/dev/full");
    expect(() => full.write(frame(10))).toThrow("no space is left");
    full.close();
  });
});

describe("LateCapture", () => {
  const packets = (name: string) => [...openCaptureFile(at(name)).reader].length;

  test("comes into being with its first frame, or when it is asked for", () => {
    const unused = new LateCapture(at("unused.pcap"), []);
    unused.flush();
    unused.close();
    unused.create();
    expect([existsSync(at("unused.pcap")), unused.packets]).toEqual([false, 0]);
    const empty = new LateCapture(at("empty.pcap"), []);
    empty.create();
    empty.close();
    expect(packets("empty.pcap")).toBe(0);
    const used = new LateCapture(at("used.pcapng"), []);
    used.write(frame(60), 0, 60, 0, 0);
    used.create();
    used.write(frame(60), 0, 60, 1, 0);
    used.close();
    expect([used.packets, packets("used.pcapng")]).toEqual([2, 2]);
    expect(() => new LateCapture(at("nowhere/x"), []).create()).toThrow(EnvironmentError);
  });
});

test("whoever waits for others can be ended, and hears of signals afterwards", () => {
  const listener = () => {};
  process.on("SIGINT", listener);
  const heard = () => process.listeners("SIGINT").length;
  const before = heard();
  expect(mortal(heard)).toBe(0);
  expect(() =>
    mortal(() => {
      throw new RangeError();
    }),
  ).toThrow(RangeError);
  expect(heard()).toBe(before);
  process.off("SIGINT", listener);
});

describe("what the system reports", () => {
  test("reading: 5 if the file is to blame, else 6", () => {
    expect(inputFileError("f", systemError("EACCES"))).toMatchObject({ exitStatus: 5, code: "file-permission" });
    expect(inputFileError("f", systemError("EMFILE"))).toMatchObject({
      exitStatus: 6,
      message: "cannot read f: the system reports EMFILE",
    });
  });

  test("writing: always 6", () => {
    for (const code of ["EACCES", "EROFS", "ENOSPC", "EPIPE", "EIO", "toString"]) {
      expect(outputFileError("f", systemError(code)).exitStatus).toBe(6);
    }
  });

  test("anything else is a defect and stays what it is", () => {
    const defect = new TypeError("x");
    expect(() => inputFileError("f", defect)).toThrow(defect);
    expect(() => outputFileError("f", defect)).toThrow(defect);
  });
});

describe("captures", () => {
  test.each([
    ["a.pcap", "pcap"],
    ["a.cap", "pcap"],
    ["a.pcapng", "pcapng"],
    ["a.PCAPNG", "pcapng"],
    ["a.ntar", "pcapng"],
  ])("%s is written as %s and read again", (name, format) => {
    const writer = createCaptureFile(at(name));
    writer.write(frame(60), 0, 60, 1, 2000);
    writer.close();
    using capture = openCaptureFile(at(name));
    expect(capture.reader.format).toBe(format);
    expect(capture.reader.next()).toMatchObject({ seconds: 1, nanoseconds: 2000, capturedLength: 60 });
    expect(capture.reader.next()).toBeNull();
  });

  test("a file that is no capture is named", () => {
    writeFileSync(at("text"), "hello");
    expect(() => openCaptureFile(at("text"))).toThrow(`${at("text")} is no capture`);
  });

  test("the output is not the input", () => {
    const before = statSync(at("a.pcap")).size;
    expect(() => createCaptureFile(at("a.pcap"), {}, [at("a.pcap")])).toThrow(UsageError);
    expect(statSync(at("a.pcap")).size).toBe(before);
  });

  test("- is standard input and output", () => {
    const program = `
      import { openCaptureFile, createCaptureFile } from ${JSON.stringify(`${process.cwd()}/dist/node/capture-file.js`)};
      const input = openCaptureFile("-");
      const output = createCaptureFile("-");
      for (const p of input.reader) output.write(p.bytes, p.offset, p.capturedLength, p.seconds, p.nanoseconds);
      output.close();
    `;
    const input = readFileSync(at("a.pcap"));
    const result = spawnSync(process.execPath, ["--input-type=module", "-e", program], { input });
    expect(result.stderr.toString()).toBe("");
    expect(result.stdout).toEqual(input);
  });
});

test("a pipe that is not ready yet is asked again", () => {
  let calls = 0;
  const notReady = () => {
    calls++;
    if (calls < 3) throw systemError("EAGAIN");
    return 42;
  };
  expect(blocking(notReady)).toBe(42);
  expect(calls).toBe(3);
  expect(() =>
    blocking(() => {
      throw systemError("EIO");
    }),
  ).toThrow("EIO");
});
