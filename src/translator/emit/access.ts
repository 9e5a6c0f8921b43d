import type { GuestSpace } from "../guest-space.js";
import { NEAR, SHADOW } from "../guest-space.js";
import type { Address, Bytes, Expr } from "../ir.js";
import type { FunctionBody } from "../wasm-assembler.js";
import type { Facts, Version } from "./facts.js";
import type { Locals } from "./locals.js";

/** Where an access that was checked goes: code that leaves an i32, and an offset for the instruction. */
export interface Place {
  readonly push: () => void;
  readonly offset: number;
}

export type Intent = "read" | "write";

const SMALL = 0x4000_0000n;
const PLACES = ["place0", "place1"] as const;
const READABLE = 0x80808080 | 0;

/**
 * Turns guest addresses into places in the memory, with the checks of the software MMU: one compare of the high part, and
 * one look at the shadow of the very bytes. See `guest-space.ts` for why a base that passed needs no second compare for
 * displacements below 32 KiB.
 */
export class Accesses {
  #places = 0;

  constructor(
    private readonly body: FunctionBody,
    private readonly locals: Locals,
    private readonly space: GuestSpace,
    private readonly checks: boolean,
    private readonly facts: Facts,
    private readonly emit: (e: Expr) => void,
    /** Leaves the function, to have the instruction carried out step by step, if the i32 on the stack is not 0. */
    private readonly leaveIf: () => void,
  ) {}

  /** At the start of the function: constants that are long to write, in locals. */
  start(): void {
    if (!this.checks) return;
    this.body.i32(READABLE);
    this.body.set(this.locals.named("readable32", "i32"));
    this.body.i64(READABLE, READABLE);
    this.body.set(this.locals.named("readable64", "i64"));
    this.body.i32(this.space.bias);
    this.body.set(this.locals.named("bias", "i32"));
    if (this.space.name === "high") this.body.i64(this.space.first, -1);
    else this.body.i64(this.space.end, 0);
    this.body.set(this.locals.named("border", "i64"));
  }

  /** @param intent null: no check is wanted, an earlier access made it */
  place(address: Address, bytes: Bytes, intent: Intent | null): Place {
    if (address.segment === "none" && !address.short) {
      if (address.index === null && address.base === null) return this.#absolute(address, bytes, intent);
      if (address.index === null && address.base !== null && isNear(address.displacement)) {
        return this.#near(address.base, Number(address.displacement), bytes, intent);
      }
    }
    return this.#general(address, bytes, intent);
  }

  /** Leaves a guest address on the stack in halves: low, high. */
  halves(address: Address): void {
    const { body } = this;
    const wide = this.locals.named("address", "i64");
    this.#sum(address);
    body.tee(wide);
    body.op("i32.wrap_i64");
    body.get(wide);
    body.i64(32, 0);
    body.op("i64.shr_s");
    body.op("i32.wrap_i64");
  }

  #absolute(address: Address, bytes: Bytes, intent: Intent | null): Place {
    const at = address.displacement;
    const inSpace = at >= BigInt(this.space.firstMappable) && at < BigInt(this.space.endMappable);
    if (!inSpace) return this.#general(address, bytes, intent);
    const offset = (Number(BigInt.asIntN(32, at)) + this.space.bias) >>> 0;
    const place: Place = { push: () => this.body.i32(0), offset };
    this.#shadow(place, { root: 0, offset: Number(at) }, bytes, intent);
    return place;
  }

  #near(base: Expr, displacement: number, bytes: Bytes, intent: Intent | null): Place {
    const version = this.facts.versionOf(base) ?? this.facts.fresh();
    const target: Version = { root: version.root, offset: version.offset + displacement };
    const negative = displacement < 0 ? displacement : 0;
    const compute = (): void => {
      this.#wrapped(base);
      if (negative === 0 && this.checks) this.body.get(this.locals.named("bias", "i32"));
      else this.body.i32(this.space.bias + negative);
      this.body.op("i32.add");
    };
    if (this.checks && intent !== null) {
      // With room for the access itself: 16 bytes and the displacement from the tested value stay within the guard.
      if (!this.facts.isHighTested(target, NEAR - 16)) {
        this.emit(base);
        this.#leaveIfOutside();
        this.facts.highTested(version);
      }
    }
    const offset = displacement - negative;
    if (!this.#wantsShadow(target, bytes, intent)) return { push: compute, offset };
    // Once for the shadow and once for the access.
    const local = this.locals.named(PLACES[this.#places++ & 1], "i32");
    compute();
    this.body.set(local);
    const place: Place = { push: () => this.body.get(local), offset };
    this.#shadow(place, target, bytes, intent);
    return place;
  }

  #general(address: Address, bytes: Bytes, intent: Intent | null): Place {
    const version = this.#generalVersion(address);
    const wide = this.locals.named("address", "i64");
    // Two accesses of one instruction may both be under way.
    const short = this.locals.named(PLACES[this.#places++ & 1], "i32");
    const known = version !== null && this.facts.isHighTested(version, NEAR - 16);
    if ((!this.checks || intent === null || known) && address.segment === "none" && !address.short) {
      this.#sum32(address);
    } else {
      this.#sum(address);
      if (this.checks && intent !== null && !known) {
        this.body.tee(wide);
        this.#leaveIfOutside();
        if (version !== null) this.facts.highTested(version);
        this.body.get(wide);
      }
      this.body.op("i32.wrap_i64");
      if (this.checks) this.body.get(this.locals.named("bias", "i32"));
      else this.body.i32(this.space.bias);
      this.body.op("i32.add");
    }
    this.body.set(short);
    const place: Place = { push: () => this.body.get(short), offset: 0 };
    this.#shadow(place, version, bytes, intent);
    return place;
  }

  /** base + index × scale + displacement, where all are in known versions. */
  #generalVersion(address: Address): Version | null {
    if (address.segment !== "none" || address.short) return null;
    if (address.displacement >= SMALL || address.displacement <= -SMALL) return null;
    const displacement = Number(address.displacement);
    const base = address.base === null ? null : this.facts.versionOf(address.base);
    if (address.base !== null && base === null) return null;
    if (address.index === null) {
      return base === null ? null : { root: base.root, offset: base.offset + displacement };
    }
    const index = this.facts.versionOf(address.index);
    if (index === null) return null;
    const sum = this.facts.sum(base, index, address.scale);
    return { root: sum.root, offset: sum.offset + displacement };
  }

  /** Leaves the place on the stack: the sum need not be known in full. */
  #sum32(address: Address): void {
    const { body } = this;
    body.i32(Number(BigInt.asIntN(32, address.displacement)) + this.space.bias);
    if (address.index !== null) {
      this.#wrapped(address.index);
      if (address.scale > 1) {
        body.i32(Math.log2(address.scale));
        body.op("i32.shl");
      }
      body.op("i32.add");
    }
    if (address.base !== null) {
      this.#wrapped(address.base);
      body.op("i32.add");
    }
  }

  /** Leaves the guest address on the stack, as i64. */
  #sum(address: Address): void {
    const { body } = this;
    let some = false;
    const add = (): void => {
      if (some) body.op("i64.add");
      some = true;
    };
    if (address.index !== null) {
      this.emit(address.index);
      if (address.scale > 1) {
        body.i64(Math.log2(address.scale));
        body.op("i64.shl");
      }
      add();
    }
    if (address.base !== null) {
      this.emit(address.base);
      add();
    }
    if (address.displacement !== 0n || !some) {
      const low = Number(BigInt.asIntN(32, address.displacement));
      body.i64(low, Number(BigInt.asIntN(32, address.displacement >> 32n)));
      add();
    }
    if (address.short) {
      body.i64(-1, 0);
      body.op("i64.and");
    }
    if (address.segment !== "none") {
      this.emit({ kind: "field", type: "i64", field: address.segment === "fs" ? "fsBase" : "gsBase" });
      add();
    }
  }

  #wrapped(e: Expr): void {
    if (e.kind === "reg") this.emit({ ...e, type: "i32" });
    else {
      this.emit(e);
      this.body.op("i32.wrap_i64");
    }
  }

  #leaveIfOutside(): void {
    this.body.get(this.locals.named("border", "i64"));
    this.body.op(this.space.name === "high" ? "i64.lt_u" : "i64.ge_u");
    this.leaveIf();
  }

  #wantsShadow(version: Version | null, bytes: Bytes, intent: Intent | null): boolean {
    if (!this.checks || intent === null) return false;
    return version === null || !this.facts.isShadowTested(version, bytes, intent === "write");
  }

  #shadow(place: Place, version: Version | null, bytes: Bytes, intent: Intent | null): void {
    if (!this.#wantsShadow(version, bytes, intent)) return;
    const write = intent === "write";
    if (version !== null) this.facts.shadowTested(version, bytes, write);
    const { body } = this;
    const load = (operation: "i32.load8_s" | "i32.load16_s" | "i32.load" | "i64.load", more: number): void => {
      place.push();
      body.memory(operation, place.offset + SHADOW + more);
    };
    switch (bytes) {
      case 1:
        load("i32.load8_s", 0);
        body.i32(write ? -1 : 0);
        body.op(write ? "i32.ne" : "i32.ge_s");
        break;
      case 2:
        load("i32.load16_s", 0);
        this.#compare32(write, () => body.i32(0xffff8080));
        break;
      case 4:
        load("i32.load", 0);
        this.#compare32(write, () => body.get(this.locals.named("readable32", "i32")));
        break;
      case 8:
        load("i64.load", 0);
        this.#compare64(write);
        break;
      case 16:
        if (!write) {
          // The sign bits of all bytes at once.
          place.push();
          body.vectorMemory("v128.load", place.offset + SHADOW);
          body.vector("i8x16.bitmask");
          body.i32(0xffff);
          body.op("i32.ne");
          break;
        }
        load("i64.load", 0);
        load("i64.load", 8);
        body.op("i64.and");
        this.#compare64(write);
        break;
    }
    this.leaveIf();
  }

  #compare32(write: boolean, readable: () => void): void {
    const { body } = this;
    if (write) body.i32(-1);
    else {
      readable();
      body.op("i32.and");
      readable();
    }
    body.op("i32.ne");
  }

  #compare64(write: boolean): void {
    const { body } = this;
    if (write) body.i64(-1);
    else {
      const readable = this.locals.named("readable64", "i64");
      body.get(readable);
      body.op("i64.and");
      body.get(readable);
    }
    body.op("i64.ne");
  }
}

const isNear = (displacement: bigint): boolean => displacement > -BigInt(NEAR) && displacement < BigInt(NEAR);
