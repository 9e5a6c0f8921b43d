import * as bpf from "../bpf.js";
import { FilterSyntaxError } from "../errors.js";
import type { Statement, Test } from "../flow-graph.js";
import { both, branch, not, statement } from "../flow-graph.js";
import type { Layout, Place } from "./layout.js";
import { ethernetLayout } from "./layout.js";

/** What a field is relative to. */
export type Origin = "packet" | "link" | "type" | "llc" | "network" | "network after llc" | "transport" | "transport6";

/** The state of one compilation: the layout so far, free scratch words, the column that is being compiled. */
export class Context {
  readonly layout: Layout = ethernetLayout();
  column = 1;
  /** Set where the program has branches inside a block or a chain of headers, which the optimiser does not know. */
  keepAsIs = false;
  private readonly inUse: boolean[] = Array(bpf.SCRATCH_WORDS).fill(false);
  private next = 0;

  constructor(private readonly expression: string) {}

  refuse(reason: string, code?: string): never {
    throw new FilterSyntaxError(this.expression, this.column, reason, code);
  }

  /** A free scratch word, looked for from where the last was found. */
  allocate(): number {
    for (let tries = 0; tries < bpf.SCRATCH_WORDS; tries++) {
      if (!this.inUse[this.next]) {
        this.inUse[this.next] = true;
        return this.next;
      }
      this.next = (this.next + 1) % bpf.SCRATCH_WORDS;
    }
    return this.refuse("this needs more than the 16 words of scratch memory that a filter has", "filter-too-complex");
  }

  free(register: number): void {
    this.inUse[register] = false;
  }

  /** Statements that load the variable part of a place into X; none if it has none. */
  variablePart(place: Place): Statement[] {
    return place.register === undefined ? [] : [statement(bpf.LDX | bpf.MEM, place.register)];
  }

  /** Statements that load `size` bytes at `place` + `offset` into A. */
  loadAt(place: Place, offset: number, size: number): Statement[] {
    const k = (place.constant + offset) >>> 0;
    if (place.register === undefined) return [statement(bpf.LD | bpf.ABS | size, k)];
    return [...this.variablePart(place), statement(bpf.LD | bpf.IND | size, k)];
  }

  load(origin: Origin, offset: number, size: number): Statement[] {
    const { linkHeader, typeField, payload, network, networkAfterLlc } = this.layout;
    switch (origin) {
      case "packet":
        return [statement(bpf.LD | bpf.ABS | size, offset)];
      case "link":
        return this.loadAt(linkHeader, offset, size);
      case "type":
        return this.loadAt(typeField, offset, size);
      case "llc":
        return this.loadAt(payload, offset, size);
      case "network":
        return this.loadAt(payload, network + offset, size);
      case "network after llc":
        return this.loadAt(payload, networkAfterLlc + offset, size);
      case "transport":
        return [...this.loadHeaderLength(), statement(bpf.LD | bpf.IND | size, payload.constant + network + offset)];
      case "transport6":
        return this.loadAt(payload, network + 40 + offset, size);
    }
  }

  /** Loads into X the length of the IPv4 header (RFC 791 section 3.1), plus the variable part of where it begins. */
  loadHeaderLength(): Statement[] {
    const { payload, network } = this.layout;
    const k = payload.constant + network;
    if (payload.register === undefined) return [statement(bpf.LDX | bpf.MSH | bpf.B, k)];
    return [
      ...this.variablePart(payload),
      statement(bpf.LD | bpf.IND | bpf.B, k),
      statement(bpf.ALU | bpf.AND | bpf.K, 0xf),
      statement(bpf.ALU | bpf.LSH | bpf.K, 2),
      statement(bpf.ALU | bpf.ADD | bpf.X),
      statement(bpf.MISC | bpf.TAX),
    ];
  }

  compare(origin: Origin, offset: number, size: number, relation: number, value: number): Test {
    return branch(relation | bpf.K, value, this.load(origin, offset, size));
  }

  equals(origin: Origin, offset: number, size: number, value: number): Test {
    return this.compare(origin, offset, size, bpf.JEQ, value);
  }

  /** The field, masked, equals the value. */
  matches(origin: Origin, offset: number, size: number, value: number, mask: number): Test {
    const statements = this.load(origin, offset, size);
    if (mask !== 0xffffffff) statements.push(statement(bpf.ALU | bpf.AND | bpf.K, mask));
    return branch(bpf.JEQ | bpf.K, value, statements);
  }

  hasBits(origin: Origin, offset: number, size: number, mask: number): Test {
    return this.compare(origin, offset, size, bpf.JSET, mask);
  }

  atMost(origin: Origin, offset: number, size: number, value: number): Test {
    return not(this.compare(origin, offset, size, bpf.JGT, value));
  }

  /** The bytes at the offset are these; the last are compared first. */
  bytesAre(origin: Origin, offset: number, bytes: readonly number[]): Test {
    let test: Test | undefined;
    let end = bytes.length;
    while (end > 0) {
      const width = end >= 4 ? 4 : end >= 2 ? 2 : 1;
      end -= width;
      const value = bytes.slice(end, end + width).reduce((sum, byte) => sum * 256 + byte, 0);
      const next = this.equals(origin, offset + end, width === 4 ? bpf.W : width === 2 ? bpf.H : bpf.B, value);
      test = test === undefined ? next : both(test, next);
    }
    return test ?? this.always();
  }

  always(): Test {
    return branch(bpf.JEQ | bpf.K, 0, [statement(bpf.LD | bpf.IMM, 0)]);
  }
}
