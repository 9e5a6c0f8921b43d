import { resolve } from "node:path";
import type { Command } from "commander";
import { SectionFlag } from "../formats/elf-constants.js";
import { KernelModule, type ModuleParameter } from "../formats/kernel-module.js";
import type { ModuleSignature } from "../formats/kernel-module-signature.js";
import { KERNEL_HELP, KERNEL_OPTION, objectFile } from "./kernel-module.js";
import { stdout } from "./output.js";
import { printable } from "./printable.js";

/** Width of what comes before a value, and bytes of a signature on a line: those of kmod's modinfo. */
const KEY_WIDTH = 16;
const SIGNATURE_BYTES_A_LINE = 20;

export function addModinfo(program: Command): void {
  program
    .command("modinfo")
    .description("Show what a kernel module says about itself, as modinfo of kmod does.")
    .argument("<module>", ".ko, .ko.xz or .ko.zst file, - for standard input, or the name of a module of the kernel")
    .option(KERNEL_OPTION, KERNEL_HELP)
    .option("--json", "print one JSON document")
    .action(async (given: string, options: { kernel?: string; json?: true }) => {
      const { bytes, name, kernel } = await objectFile(given, options.kernel);
      const module = KernelModule.parse(bytes, name);
      const filename = kernel === null && given !== "-" ? resolve(given) : name;
      stdout(options.json === true ? `${JSON.stringify(document(module, filename))}\n` : modinfoText(module, filename));
    });
}

function document(module: KernelModule, filename: string): unknown {
  const { signature, symbols, init, exit } = module;
  const info = new Map<string, string[]>();
  for (const { key, value } of module.info) {
    const values = info.get(key);
    if (values === undefined) info.set(key, [value]);
    else values.push(value);
  }
  return {
    filename,
    name: module.name,
    version: module.get("version"),
    license: module.get("license"),
    description: module.get("description"),
    authors: module.all("author"),
    aliases: module.all("alias"),
    depends: module.depends,
    vermagic: module.get("vermagic"),
    info: Object.fromEntries(info),
    parameters: module.parameters,
    signature: signature === null ? null : signatureDocument(signature),
    init: init < 0 ? null : symbols.name(init),
    exit: exit < 0 ? null : symbols.name(exit),
    imports: module.imports.length,
    exports: module.exports.length,
    sections: module.elf.sections.length,
    size: loadedSize(module),
  };
}

function signatureDocument({ idType, signer, key, hash, value }: ModuleSignature): unknown {
  return { idType, signer, key: key === null ? null : hexBytes(key), hash, bytes: value?.length ?? null };
}

/** What `korral modinfo` prints. @throws ElfError */
export function modinfoText(module: KernelModule, filename: string): string {
  const lines: [key: string, value: string][] = [["filename", filename]];
  for (const { key, value } of module.info) {
    if (key !== "parm" && key !== "parmtype") lines.push([key, value]);
  }
  lines.push(...signatureLines(module.signature));
  for (const parameter of module.parameters) lines.push(["parm", parameterText(parameter)]);
  const { code, readOnly, data } = loadedSize(module);
  lines.push(
    ["sections", String(module.elf.sections.length)],
    ["size", `${code + readOnly + data} bytes loaded: ${code} code, ${readOnly} read-only, ${data} data`],
    ["symbols", `${module.imports.length} imported, ${module.exports.length} exported`],
  );
  return lines.map(([key, value]) => `${printable(`${key}:`.padEnd(KEY_WIDTH))}${printable(value)}\n`).join("");
}

function signatureLines(signature: ModuleSignature | null): [string, string][] {
  if (signature === null) return [["signature", "none"]];
  const { idType, signer, key, hash, value } = signature;
  const lines: [string, string][] = [["sig_id", idType]];
  if (signer !== null) lines.push(["signer", signer]);
  if (key !== null) lines.push(["sig_key", hexBytes(key)]);
  if (hash !== null) lines.push(["sig_hashalgo", hash]);
  lines.push(["signature", value === null ? "of an unknown form" : wrapped(value)]);
  return lines;
}

function wrapped(signature: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < signature.length; at += SIGNATURE_BYTES_A_LINE) {
    lines.push(hexBytes(signature.subarray(at, at + SIGNATURE_BYTES_A_LINE)));
  }
  return lines.join(":\n\t\t");
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(":");
}

function parameterText({ name, description, type }: ModuleParameter): string {
  if (description === null) return type === null ? name : `${name}:${type}`;
  return type === null ? `${name}:${description}` : `${name}:${description} (${type})`;
}

/** Bytes that it takes in memory, initialisation included. */
function loadedSize(module: KernelModule): { code: number; readOnly: number; data: number } {
  const size = { code: 0, readOnly: 0, data: 0 };
  for (const section of module.elf.sections) {
    if (!section.allocated) continue;
    if ((section.flags & SectionFlag.executable) !== 0) size.code += section.size;
    else if ((section.flags & SectionFlag.write) !== 0) size.data += section.size;
    else size.readOnly += section.size;
  }
  return size;
}
