// How much of Debian's kernels the translator covers: of each linux-image package given, all functions of all modules and of
// the kernel's image are decoded, and each instruction is asked for. Writes a page in Markdown.
//
// usage: node scripts/instruction-coverage.mjs [--output FILE.md] PACKAGE.deb…
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { decompress } from "../dist/formats/compression.js";
import { openDebianPackage } from "../dist/formats/deb.js";
import { ElfFile } from "../dist/formats/elf.js";
import { symbolsOfImage } from "../dist/formats/kallsyms-image.js";
import { openKernelImage } from "../dist/formats/vmlinuz.js";
import { INVALID, InstructionDecoder } from "../dist/translator/decode.js";
import { isCovered } from "../dist/translator/lift/index.js";
import { isExecutable } from "../dist/translator/load-functions.js";
import { placeObject, planObject } from "../dist/translator/load-object.js";

const MODULE = /\.ko(\.(xz|zst|gz))?$/;
const IMAGE = /^boot\/vmlinuz-/;
const MOST_EXAMPLES = 8;

/** What fills the space between functions. */
const PADDING = new Set(["int3", "nop"]);

// x87, MMX and their state; vectors of 256 bits and more. The legacy ones of 128 bits have operands that say so.
const VECTOR_REGISTER = /\b[xyz]?mm\d|\bst\(\d|\bk[0-7]\b/;
const VECTOR_MNEMONIC =
  /^(f(?!ar)|v(?!er[rw]$|m(call|launch|resume|read|write|xon|xoff|ptr|clear|func|run|load|save|mcall))|wait$|emms$|(ld|st)mxcsr$|xsave|xrstor|tile|(ld|st)tilecfg$|cvt)/;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { output: { type: "string" } } });
if (positionals.length === 0) {
  console.error("usage: node scripts/instruction-coverage.mjs [--output FILE.md] PACKAGE.deb…");
  process.exit(2);
}
const decoder = new InstructionDecoder();
const text = page(positionals.map(countPackage));
if (values.output === undefined) process.stdout.write(text);
else writeFileSync(values.output, text);

function countPackage(path) {
  const archive = openDebianPackage(new Uint8Array(readFileSync(path)), path);
  const modules = newCount();
  const image = newCount();
  for (const entry of archive.entries()) {
    if (entry.kind !== "file") continue;
    if (MODULE.test(entry.path)) countModule(modules, decompressed(entry.read(), entry.path), basename(entry.path));
    else if (IMAGE.test(entry.path)) countImage(image, openKernelImage(entry.read(), entry.path).vmlinux());
  }
  const { fields } = archive;
  return { name: fields.get("Package"), version: fields.get("Version"), modules, image };
}

function decompressed(bytes, name) {
  return name.endsWith(".ko") ? bytes : decompress(bytes, name);
}

function newCount() {
  return {
    files: 0,
    wholeFiles: 0,
    functions: 0,
    wholeFunctions: 0,
    textBytes: 0,
    functionBytes: 0,
    integer: { all: 0, covered: 0 },
    vector: { all: 0, covered: 0 },
    /** Bytes from the first on that is no instruction, by function. */
    undecodable: new Map(),
    /** By mnemonic. */
    missing: new Map(),
  };
}

/** A module's functions, as the loader finds them. */
function countModule(count, bytes, name) {
  const plan = planObject(bytes, name);
  const loaded = placeObject(plan, plan.space, plan.address, () => null);
  const code = loaded.segments.filter((segment) => segment.execute && segment.name !== "imports");
  for (const { size } of code) count.textBytes += size;
  let i = 0;
  let isWhole = true;
  for (const { name: symbol, address, size } of loaded.functions) {
    while (address >= code[i].address + code[i].size) i++;
    const at = `${symbol} of ${name}`;
    isWhole = countFunction(count, code[i].bytes, address - code[i].address, size, address, at) && isWhole;
  }
  count.files++;
  if (isWhole) count.wholeFiles++;
}

/** The image has no symbols but its own; a function reaches to the next one. */
function countImage(count, vmlinux) {
  const elf = ElfFile.parse(vmlinux, "vmlinux");
  const sections = elf.sections.filter(isExecutable);
  for (const { size } of sections) count.textBytes += size;
  const symbols = symbolsOfImage(elf);
  let last = Number.NaN;
  for (let i = 0; i < symbols.count; i++) {
    const address = symbols.address(i);
    const section = sections.find((one) => address >= one.address && address < one.address + one.size);
    if (section === undefined || address === last || !/[tTwW]/.test(symbols.type(i))) continue;
    last = address;
    const offset = address - section.address;
    const size = Math.min(symbols.extent(i), section.size - offset);
    countFunction(count, section.data, offset, size, address, symbols.name(i));
  }
  count.files++;
}

/** @returns whether all of its instructions are covered */
function countFunction(count, bytes, offset, size, address, name) {
  const instructions = decoder.decodeRun(bytes, offset, size, address);
  const bad = instructions.findIndex(({ mnemonic }) => mnemonic === INVALID);
  let end = bad < 0 ? instructions.length : bad;
  if (bad >= 0) count.undecodable.set(name, address + size - instructions[bad].address);
  else while (end > 0 && PADDING.has(instructions[end - 1].mnemonic)) end--;
  let isWhole = bad < 0;
  for (let i = 0; i < end; i++) {
    const instruction = instructions[i];
    const kind = isVector(instruction) ? count.vector : count.integer;
    kind.all++;
    if (isCovered(instruction)) kind.covered++;
    else {
      isWhole = false;
      addMissing(count, instruction, kind === count.vector, name);
    }
  }
  count.functionBytes += size;
  // Some symbols only name the padding before a function.
  if (end > 0) count.functions++;
  if (end > 0 && isWhole) count.wholeFunctions++;
  return isWhole;
}

function isVector({ mnemonic, operands }) {
  return (
    VECTOR_MNEMONIC.test(mnemonic) ||
    operands.some(({ kind, text }) => kind === "vector" || (kind === "special" && VECTOR_REGISTER.test(text)))
  );
}

function addMissing(count, instruction, vector, name) {
  const key = `${instruction.mnemonic} ${vector}`;
  const entry = count.missing.get(key);
  if (entry !== undefined) entry.times++;
  else {
    const { mnemonic } = instruction;
    count.missing.set(key, { mnemonic, vector, times: 1, example: instruction.text(), name });
  }
}

function page(packages) {
  const names = packages.map(({ name }) => name);
  const command = [
    `apt-get download ${names.join(" ")}`,
    "npm run build",
    `node scripts/instruction-coverage.mjs --output docs/translator-coverage.md ${names.map((name) => `${name}_*.deb`).join(" ")}`,
  ];
  const sections = packages.map((one) => [
    `## ${one.name}, version ${one.version}`,
    summary(one),
    ...missingTables(one),
    ...undecodable(one),
  ]);
  return `${[
    "# What the translator covers",
    wrapped(`Every function of every module and of the kernel's image is decoded, and each instruction is asked for: can it be
      executed, by translated code or, one at a time, by the runtime (cpuid, rdmsr, in, …)? Functions are where symbols say.
      Padding behind them is not counted, nor is code that only patching would put to use. An instruction that is not covered
      stops a driver, with a report, only if it is reached.`),
    "This page is generated; to make it anew:",
    `\`\`\`sh\n${command.join("\n")}\n\`\`\``,
    ...sections.flat(),
  ].join("\n\n")}\n`;
}

function summary({ modules, image }) {
  const row = (what, kind, { all, covered }) => [what, kind, number(all), number(all - covered), share(covered, all)];
  const sum = (a, b) => ({ all: a.all + b.all, covered: a.covered + b.covered });
  const parts = [
    [`${number(modules.files)} modules`, modules],
    ["image", image],
  ];
  const rows = parts.flatMap(([what, { integer, vector }]) => [
    row(what, "integer and system", integer),
    row("", "vector and x87", vector),
  ]);
  const integer = sum(modules.integer, image.integer);
  const vector = sum(modules.vector, image.vector);
  rows.push(row("all", "integer and system", integer), row("", "vector and x87", vector));
  rows.push(row("", "**both**", sum(integer, vector)));
  const whole = parts.map(([what, count]) => {
    const { functions, wholeFunctions, functionBytes, textBytes } = count;
    return `The ${number(functions)} functions of the ${what} are ${number(functionBytes)} of ${number(textBytes)} bytes of
      executable sections; ${number(wholeFunctions)} (${share(wholeFunctions, functions)}) are covered to the last instruction.`;
  });
  whole.push(`So are ${number(modules.wholeFiles)} modules (${share(modules.wholeFiles, modules.files)}).`);
  const heads = ["", "instructions", "number", "not covered", "share covered"];
  return `${table(heads, "--rrr", rows)}\n\n${wrapped(whole.join(" "))}`;
}

function missingTables({ modules, image }) {
  return [false, true].map((vector) => {
    const rows = new Map();
    for (const [column, { missing }] of [modules, image].entries()) {
      for (const entry of missing.values()) {
        if (entry.vector !== vector) continue;
        const row = rows.get(entry.mnemonic) ?? { ...entry, times: [0, 0] };
        row.times[column] += entry.times;
        rows.set(entry.mnemonic, row);
      }
    }
    const title = vector ? "### Vector and x87, not covered" : "### Integer and system, not covered";
    if (rows.size === 0) return `${title}\n\nNone.`;
    const cells = [...rows.values()]
      .sort((a, b) => b.times[0] + b.times[1] - a.times[0] - a.times[1] || (a.mnemonic < b.mnemonic ? -1 : 1))
      .map(({ mnemonic, times, example, name }) => [mnemonic, ...times.map(number), `\`${example}\` in ${name}`]);
    return `${title}\n\n${table(["mnemonic", "modules", "image", "for example"], "-rr-", cells)}`;
  });
}

/** Some symbols of code name data. */
function undecodable({ modules, image }) {
  const all = [...modules.undecodable, ...image.undecodable].sort((a, b) => b[1] - a[1]);
  if (all.length === 0) return [];
  const bytes = all.reduce((sum, [, size]) => sum + size, 0);
  const examples = all.slice(0, MOST_EXAMPLES).map(([name, size]) => `${name} (${number(size)} bytes)`);
  const more = all.length > MOST_EXAMPLES ? ", …" : "";
  return [
    wrapped(`Symbols of code that lead to bytes which are no instructions, data among code: ${number(all.length)}. These bytes
      and what follows them, ${number(bytes)} in all, are not counted: ${examples.join(", ")}${more}.`),
  ];
}

/** In lines of at most 120 characters. */
function wrapped(prose) {
  return prose
    .trim()
    .replace(/\s+/g, " ")
    .replace(/(.{1,120})( |$)/g, "$1\n")
    .trimEnd();
}

function table(heads, alignment, rows) {
  const widths = heads.map((head, i) => Math.max(3, head.length, ...rows.map((row) => row[i].length)));
  const line = (cells) => {
    const padded = cells.map((cell, i) => (alignment[i] === "r" ? cell.padStart(widths[i]) : cell.padEnd(widths[i])));
    return `| ${padded.join(" | ")} |`;
  };
  const rule = widths.map((width, i) => (alignment[i] === "r" ? `${"-".repeat(width - 1)}:` : "-".repeat(width)));
  return [line(heads), `| ${rule.join(" | ")} |`, ...rows.map(line)].join("\n");
}

function number(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** Never 100 % unless it is. */
function share(part, whole) {
  if (part === whole) return "100 %";
  return `${(Math.floor((part / whole) * 100_000) / 1000).toFixed(3)} %`;
}
