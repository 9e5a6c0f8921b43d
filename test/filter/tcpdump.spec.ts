import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileFilter } from "../../src/filter/compile.js";
import { disassemble } from "../../src/filter/disassemble.js";
import { FilterSyntaxError } from "../../src/filter/errors.js";
import { ACCEPTED, ACCEPTED_CHAINS, REFUSED } from "./expressions.js";
import { Frames, goesInCircles } from "./frames.js";
import { PlacedFrames } from "./placed-frames.js";
import { Random } from "./random.js";
import type { Style } from "./random-expressions.js";
import { Expressions, wordSoup } from "./random-expressions.js";
import type { Verdict } from "./tcpdump.js";
import { Tcpdump, tcpdumpIsInstalled } from "./tcpdump.js";

const FRAMES = new Frames(new Random(5)).frames(3000);
/** Of these, libpcap walks every chain of headers to its end. */
const CHAIN_FRAMES = new Frames(new Random(1)).frames(1500).filter((frame) => !goesInCircles(frame));
/** Enough for random expressions, which are many. */
const SOME_FRAMES = FRAMES.slice(0, 800);
const PLAIN: Style = { geneve: false, protochain: false };

function ours(placed: PlacedFrames, expression: string): Verdict {
  try {
    const { one, many, interpreted, demultiplexed, count } = placed.filter(compileFilter(expression));
    for (const other of [many, interpreted, demultiplexed]) expect(other, expression).toEqual(one);
    expect(count, expression).toBe(one.size);
    return { accepted: one };
  } catch (error) {
    if (error instanceof FilterSyntaxError) return { refusal: error.message };
    throw error;
  }
}

/** Both refuse, or both accept the same frames. */
function expectAgreement(placed: PlacedFrames, expression: string, theirs: Verdict): void {
  const mine = ours(placed, expression);
  if ("accepted" in theirs && "accepted" in mine) expect([...mine.accepted], expression).toEqual([...theirs.accepted]);
  else
    expect(
      "refusal" in mine ? "refused" : "compiled",
      `${expression}: ${JSON.stringify(mine)} / ${JSON.stringify(theirs)}`,
    ).toBe("refusal" in theirs ? "refused" : "compiled");
}

const name = "filters, against tcpdump";
if (!tcpdumpIsInstalled && process.env.CI !== undefined) {
  describe(name, () => {
    it("has the Debian package tcpdump", () => expect.unreachable("install the Debian package tcpdump"));
  });
} else {
  describe.skipIf(!tcpdumpIsInstalled)(
    tcpdumpIsInstalled ? name : `${name} (skipped: needs the Debian package tcpdump)`,
    () => {
      let tcpdump: Tcpdump;
      let placed: PlacedFrames;
      let some: Tcpdump;
      let somePlaced: PlacedFrames;
      beforeAll(() => {
        tcpdump = new Tcpdump(FRAMES);
        placed = new PlacedFrames(FRAMES);
        some = new Tcpdump(SOME_FRAMES);
        somePlaced = new PlacedFrames(SOME_FRAMES);
      });
      afterAll(() => {
        tcpdump.close();
        some.close();
      });

      const expectBothOutcomes = async (
        peer: Tcpdump,
        here: PlacedFrames,
        count: number,
        expressions: readonly string[],
      ): Promise<void> => {
        const verdicts = await peer.filterAll(expressions);
        for (const [i, expression] of expressions.entries()) {
          const theirs = verdicts[i];
          expectAgreement(here, expression, theirs);
          const size = "accepted" in theirs ? theirs.accepted.size : -1;
          expect(size > 0 && size < count, `${expression} accepts ${size} of ${count}`).toBe(true);
        }
      };

      it("accept the same frames, for every construct, some and not all of them", () =>
        expectBothOutcomes(tcpdump, placed, FRAMES.length, ACCEPTED));

      it("accept the same frames by chains of headers", async () => {
        const chains = new Tcpdump(CHAIN_FRAMES);
        await expectBothOutcomes(chains, new PlacedFrames(CHAIN_FRAMES), CHAIN_FRAMES.length, ACCEPTED_CHAINS).finally(
          () => chains.close(),
        );
      });

      it("refuse what tcpdump refuses", async () => {
        const verdicts = await some.filterAll(REFUSED);
        for (const [i, expression] of REFUSED.entries()) {
          expect("refusal" in verdicts[i], `tcpdump takes ${expression}`).toBe(true);
          expectAgreement(somePlaced, expression, verdicts[i]);
        }
      });

      it("accept all frames without an expression", async () => {
        for (const expression of ["", "  "]) {
          const mine = ours(placed, expression);
          expect("accepted" in mine && mine.accepted.size).toBe(FRAMES.length);
        }
        expectAgreement(placed, "", (await tcpdump.filterAll([""]))[0]);
      });

      it("agree on random expressions", async () => {
        const random = new Random(2024);
        const expressions = new Expressions(random, PLAIN);
        const texts = Array.from({ length: 400 }, () => expressions.expression(random.below(4)));
        const verdicts = await some.filterAll(texts);
        for (const [i, text] of texts.entries()) expectAgreement(somePlaced, text, verdicts[i]);
        expect(verdicts.filter((verdict) => "accepted" in verdict && verdict.accepted.size > 0).length).toBeGreaterThan(
          100,
        );
      });

      it("agree on random words", async () => {
        const random = new Random(7);
        const texts = Array.from({ length: 200 }, () => wordSoup(random));
        const verdicts = await some.filterAll(texts);
        for (const [i, text] of texts.entries()) expectAgreement(somePlaced, text, verdicts[i]);
      });

      it("agree on random expressions with protochain", async () => {
        const random = new Random(11);
        const expressions = new Expressions(random, { geneve: false, protochain: true });
        const texts = Array.from({ length: 3000 }, () => expressions.expression(random.below(3)))
          .filter((text) => text.includes("protochain"))
          .slice(0, 150);
        const chains = new Tcpdump(CHAIN_FRAMES);
        const verdicts = await chains.filterAll(texts).finally(() => chains.close());
        const here = new PlacedFrames(CHAIN_FRAMES);
        for (const [i, text] of texts.entries()) expectAgreement(here, text, verdicts[i]);
      });

      it("compile to the programs that tcpdump -d prints", () => {
        const texts = [
          "ip",
          "tcp port 80 or host 10.1.2.3",
          "vlan 5 and mpls and ip6",
          "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
          "geneve and ip",
          "isis or llc i",
        ];
        for (const text of texts) expect(disassemble(compileFilter(text)), text).toBe(tcpdump.program(text));
      });

      it("jump far in long lists, as tcpdump does", async () => {
        const hosts = Array.from({ length: 150 }, (_, i) => `host 10.1.${i % 7}.${i}`).join(" or ");
        expect(disassemble(compileFilter(hosts))).toBe(tcpdump.program(hosts));
        expectAgreement(placed, hosts, (await tcpdump.filterAll([hosts]))[0]);
      });
    },
  );
}
