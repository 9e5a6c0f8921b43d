// The translator: programs of gcc -O2 in a sandbox, checked and unchecked, against the same object files on the bare
// processor and against others that check or translate.
// Alone, for a part of it: node bench/translator.mjs [PROGRAM…] [--peers native,checked] [--repeats N] [--programs-only]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { row } from "./measure.mjs";
import { show } from "./show.mjs";
import { PEERS, startPeer } from "./translator-peers.mjs";
import { compileObject, linkProgram, MIXED, PROGRAMS, whyNoPrograms } from "./translator-programs.mjs";
import { measureStart } from "./translator-start.mjs";

const REPEATS = 9;
/** On a busy machine there are more: until the two best of each peer are so close to each other, but within a bound. */
const CLOSE = 1.02;
const MOST = 2;
const TARGETS = [
  { name: "Korral checked, geometric mean", peer: "checked", aim: 1.5 },
  { name: "Korral unchecked, geometric mean", peer: "unchecked", aim: 1.15 },
  { name: `Korral checked, ${MIXED} (a mix as CoreMark's)`, peer: "checked", program: MIXED, aim: 1.8, floor: 2 },
];

export async function benchTranslator({ programs = PROGRAMS, peers = PEERS, repeats = REPEATS, start = true } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "korral-bench-"));
  try {
    const why = whyNoPrograms();
    const measured = why === undefined ? await measurePrograms(programs, peers, repeats, directory) : undefined;
    const rows = measured === undefined ? [row("programs", null, "", why)] : targetRows(measured);
    if (start) rows.push(...(await measureStart(directory)));
    return { tables: measured === undefined ? [] : [tableOf(measured, peers, repeats)], rows };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** @returns { results: [{ name, native (ms), ratios: { PEER: ratio } }], notes: { PEER: why it has none } } */
async function measurePrograms(programs, peers, repeats, directory) {
  const results = [];
  const notes = {};
  for (const { name, iterations } of programs) {
    const object = compileObject(name, directory);
    const built = { object, program: linkProgram(name, object, directory) };
    for (const peer of peers) Object.assign(built, peer.build?.(name, directory));
    const present = peers.filter((peer) => {
      const why = peer.missing(built);
      if (why !== undefined) notes[peer.name] = why;
      return why === undefined;
    });
    const times = await compare(name, iterations, present, built, repeats, notes);
    const native = times.get("native");
    const ratios = Object.fromEntries([...times].map(([peer, time]) => [peer, time / native]));
    results.push({ name, native: (native * iterations) / 1e6, ratios });
  }
  return { results, notes };
}

/** @returns the best nanoseconds an iteration, by peer; those that failed are left out, and in `notes` */
async function compare(name, iterations, peers, built, repeats, notes) {
  const ways = peers.map((peer) => ({
    peer,
    iterations: Math.max(1, Math.round(iterations * peer.share)),
    running: startPeer(peer, built),
    best: Number.POSITIVE_INFINITY,
    second: Number.POSITIVE_INFINITY,
  }));
  try {
    const [native] = ways;
    const expected = new Map();
    for (const { iterations: count } of ways)
      if (!expected.has(count)) expected.set(count, (await native.running.measure(count)).checksum);
    const isSettled = () => ways.every(({ best, second, failed }) => failed || second <= CLOSE * best);
    for (let repeat = 0; repeat < repeats || (repeat < MOST * repeats && !isSettled()); repeat++) {
      for (const way of ways) {
        if (way.failed) continue;
        const { nanoseconds, checksum, error } = await way.running.measure(way.iterations);
        if (error !== undefined) {
          if (way === native) throw new Error(`${name}, native: ${error}`);
          way.failed = true;
          notes[way.peer.name] = [notes[way.peer.name], `${name} failed: ${error}`].filter(Boolean).join("; ");
          continue;
        }
        if (checksum !== expected.get(way.iterations))
          throw new Error(
            `${name}: the checksum of ${way.peer.title} after ${way.iterations} iterations is ${checksum}, not ${expected.get(way.iterations)}`,
          );
        const time = nanoseconds / way.iterations;
        way.second = Math.min(way.second, Math.max(way.best, time));
        way.best = Math.min(way.best, time);
      }
    }
  } finally {
    for (const { running } of ways) running.stop();
  }
  return new Map(ways.filter(({ failed }) => !failed).map(({ peer, best }) => [peer.name, best]));
}

/** Of all programs but the mixed one; what is faster than native counts as 1. Undefined if a program has no ratio. */
function geometricMean(results, peer) {
  const ratios = results.filter(({ name }) => name !== MIXED).map(({ ratios }) => ratios[peer]);
  if (ratios.length === 0 || ratios.includes(undefined)) return undefined;
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(Math.max(1, ratio)), 0) / ratios.length);
}

function targetRows({ results }) {
  const ratioOf = ({ peer, program }) =>
    program === undefined ? geometricMean(results, peer) : results.find(({ name }) => name === program)?.ratios[peer];
  return TARGETS.map((target) => {
    const ratio = ratioOf(target);
    const { aim, floor } = target;
    const wanted = floor === undefined ? `aim <= ${aim}` : `aim <= ${aim}, at most ${floor}`;
    if (ratio === undefined) return row(target.name, null, "x native", `${wanted}: not measured`);
    const met = ratio <= aim ? "met" : floor !== undefined && ratio <= floor ? "missed, but not by too much" : "missed";
    return row(target.name, ratio, "x native", `${wanted}: ${met}`);
  });
}

function tableOf({ results, notes }, peers, repeats) {
  const others = peers.filter(({ name }) => name !== "native");
  const absent = others.filter(({ name }) => notes[name] !== undefined);
  const line = ({ name, native, ratios }) => [
    name,
    native.toFixed(1),
    ...others.map((peer) => ratios[peer.name] ?? null),
  ];
  const means = others.map((peer) => geometricMean(results, peer.name) ?? null);
  return {
    title: [
      `gcc -O2 on the bare processor = 1; the best of ${repeats} or more interleaved repeats`,
      ...absent.map(({ name, title }) => `${title}: ${notes[name]}`),
    ].join("\n  "),
    columns: ["program", "native ms", ...others.map(({ title }) => title)],
    lines: [
      ...results.filter(({ name }) => name !== MIXED).map(line),
      ["geometric mean", "", ...means],
      ...results.filter(({ name }) => name === MIXED).map(line),
    ],
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { peers: { type: "string" }, repeats: { type: "string" }, "programs-only": { type: "boolean" } },
  });
  const chosen = (all, names) => (names.length === 0 ? all : all.filter(({ name }) => names.includes(name)));
  const peers = values.peers === undefined ? PEERS : chosen(PEERS, ["native", ...values.peers.split(",")]);
  const options = { programs: chosen(PROGRAMS, positionals), peers, start: values["programs-only"] !== true };
  show("translator", await benchTranslator({ ...options, repeats: Number(values.repeats ?? REPEATS) }));
}
