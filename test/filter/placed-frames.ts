import type { BpfProgram } from "../../src/filter/bpf.js";
import { interpret } from "../../src/filter/interpret.js";
import { Demultiplexer, INDEX_ENTRY, PacketFilter } from "../../src/filter/packet-filter.js";
import type { Frame } from "./frames.js";

const PAGE = 65_536;

/** Frames in a WebAssembly memory, and every way that Korral has to filter them. */
export class PlacedFrames {
  readonly memory: WebAssembly.Memory;
  private readonly bytes: Uint8Array;
  private readonly offsets: number[] = [];
  private readonly index: number;
  private readonly bitmap: number;

  constructor(private readonly frames: readonly Frame[]) {
    const size = frames.reduce((sum, { bytes }) => sum + bytes.length + 1, 0) + frames.length * (INDEX_ENTRY + 1) + 64;
    this.memory = new WebAssembly.Memory({ initial: Math.ceil(size / PAGE) });
    this.bytes = new Uint8Array(this.memory.buffer);
    const view = new DataView(this.memory.buffer);
    let at = 1;
    for (const { bytes } of frames) {
      this.offsets.push(at);
      this.bytes.set(bytes, at);
      at += bytes.length;
    }
    this.index = (at + 3) & ~3;
    frames.forEach(({ bytes, wireLength }, i) => {
      view.setUint32(this.index + i * INDEX_ENTRY, this.offsets[i], true);
      view.setUint32(this.index + i * INDEX_ENTRY + 4, bytes.length, true);
      view.setUint32(this.index + i * INDEX_ENTRY + 8, wireLength, true);
    });
    this.bitmap = this.index + frames.length * INDEX_ENTRY;
  }

  /** The numbers of the accepted frames by each way; the count that the batch returns. */
  filter(program: BpfProgram): {
    one: Set<number>;
    many: Set<number>;
    interpreted: Set<number>;
    demultiplexed: Set<number>;
    count: number;
  } {
    const filter = new PacketFilter(program, this.memory);
    const demultiplexer = new Demultiplexer([program], this.memory);
    const count = filter.matchMany(this.index, this.frames.length, this.bitmap);
    const which = (accepts: (offset: number, captured: number, wire: number, i: number) => boolean): Set<number> =>
      new Set(
        this.frames.flatMap(({ bytes, wireLength }, i) =>
          accepts(this.offsets[i], bytes.length, wireLength, i) ? [i] : [],
        ),
      );
    return {
      count,
      one: which((offset, captured, wire) => filter.match(offset, captured, wire)),
      many: which((_o, _c, _w, i) => ((this.bytes[this.bitmap + (i >> 3)] >> (i & 7)) & 1) !== 0),
      interpreted: which((offset, captured, wire) => interpret(program, this.bytes, offset, captured, wire) !== 0),
      demultiplexed: which((offset, captured, wire) => demultiplexer.classify(offset, captured, wire) === 0),
    };
  }
}
