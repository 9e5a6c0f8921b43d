/**
 * The LZMA symbol decoder: a range coder over adaptive bits, literals, matches and repeated matches. Symbol and model
 * names follow the LZMA specification that comes with the LZMA SDK.
 *
 * The bit decoder is written out at each place it is needed: a call for every bit, with its state in fields, costs
 * more than the bit.
 */

// Where each model's probabilities begin; a tree of n bits has 2^n of them, the first unused.
const IS_MATCH = 0;
const IS_REP = IS_MATCH + 12 * 16;
const IS_REP0 = IS_REP + 12;
const IS_REP1 = IS_REP0 + 12;
const IS_REP2 = IS_REP1 + 12;
const IS_REP0_LONG = IS_REP2 + 12;
const DISTANCE_SLOT = IS_REP0_LONG + 12 * 16;
const DISTANCE_SPECIAL = DISTANCE_SLOT + 4 * 64;
const DISTANCE_ALIGN = DISTANCE_SPECIAL + 128;
const MATCH_LENGTH = DISTANCE_ALIGN + 16;
const LENGTH_LOW = 2;
const LENGTH_MIDDLE = LENGTH_LOW + 16 * 8;
const LENGTH_HIGH = LENGTH_MIDDLE + 16 * 8;
const REPEAT_LENGTH = MATCH_LENGTH + LENGTH_HIGH + 256;
const LITERAL = REPEAT_LENGTH + LENGTH_HIGH + 256;
const LITERAL_CODER = 0x300;
/** Probabilities are of 2^11, and begin even. */
const EVEN = 1 << 10;

/** State after a literal. */
const AFTER_LITERAL = Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5);

/** What the symbol decoder keeps between the chunks of a stream. */
export class LzmaDecoder {
  readonly #probabilities = new Uint16Array(LITERAL + (LITERAL_CODER << 4));
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;

  /** Sets lc, lp and pb, with lc + lp ≤ 4. */
  configure(literalContextBits: number, literalPositionBits: number, positionBits: number): void {
    this.#literalContextBits = literalContextBits;
    this.#literalPositionMask = (1 << literalPositionBits) - 1;
    this.#positionMask = (1 << positionBits) - 1;
  }

  reset(): void {
    this.#probabilities.fill(EVEN);
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  /**
   * Decodes one chunk of exactly `count` bytes.
   * @param input holds the chunk's bytes from `from` up to `to`
   * @param window takes the output at `at`, and has room for it; what lies before is the history
   * @param history how many bytes before `at` matches may reach
   * @param position of the output's first byte since the dictionary was reset, for the position bits
   * @returns whether the input was sound, and used up by exactly `count` bytes
   */
  decode(
    input: Uint8Array,
    from: number,
    to: number,
    window: Uint8Array,
    at: number,
    count: number,
    history: number,
    position: number,
  ): boolean {
    if (to - from < 5 || input[from] !== 0) return false;
    const probabilities = this.#probabilities;
    const literalContextShift = 8 - this.#literalContextBits;
    const literalContextBits = this.#literalContextBits;
    const literalPositionMask = this.#literalPositionMask;
    const positionMask = this.#positionMask;
    const end = at + count;
    /** Lowest index of the window that a match may read. */
    const oldest = at - history;
    const skew = position - at;
    let state = this.#state;
    let rep0 = this.#rep0;
    let rep1 = this.#rep1;
    let rep2 = this.#rep2;
    let rep3 = this.#rep3;
    let range = -1;
    let code = (input[from + 1] << 24) | (input[from + 2] << 16) | (input[from + 3] << 8) | input[from + 4];
    let next = from + 5;
    let out = at;
    let bound = 0;
    let p = 0;
    let probability = 0;

    while (out < end) {
      if (next > to) return false;
      const positionState = (out + skew) & positionMask;
      p = IS_MATCH + (state << 4) + positionState;
      probability = probabilities[p];
      bound = Math.imul(range >>> 11, probability);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probabilities[p] = probability + ((2048 - probability) >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[next++];
        }
        const previous = out > oldest ? window[out - 1] : 0;
        const context =
          (((out + skew) & literalPositionMask) << literalContextBits) + (previous >>> literalContextShift);
        const literal = LITERAL + LITERAL_CODER * context;
        let symbol = 1;
        if (state >= 7) {
          // The byte that the last match would have gone on with tells which half of the model to use, as long as it
          // agrees with what is decoded.
          let expected = window[out - rep0 - 1] << 1;
          let agreeing = 0x100;
          do {
            const expectedBit = expected & agreeing;
            expected <<= 1;
            p = literal + agreeing + expectedBit + symbol;
            probability = probabilities[p];
            bound = Math.imul(range >>> 11, probability);
            if (code >>> 0 < bound >>> 0) {
              range = bound;
              probabilities[p] = probability + ((2048 - probability) >>> 5);
              symbol <<= 1;
              agreeing &= ~expectedBit;
            } else {
              range = (range - bound) | 0;
              code = (code - bound) | 0;
              probabilities[p] = probability - (probability >>> 5);
              symbol = (symbol << 1) | 1;
              agreeing &= expectedBit;
            }
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[next++];
            }
          } while (symbol < 0x100);
        } else {
          do {
            p = literal + symbol;
            probability = probabilities[p];
            bound = Math.imul(range >>> 11, probability);
            if (code >>> 0 < bound >>> 0) {
              range = bound;
              probabilities[p] = probability + ((2048 - probability) >>> 5);
              symbol <<= 1;
            } else {
              range = (range - bound) | 0;
              code = (code - bound) | 0;
              probabilities[p] = probability - (probability >>> 5);
              symbol = (symbol << 1) | 1;
            }
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[next++];
            }
          } while (symbol < 0x100);
        }
        window[out++] = symbol;
        state = AFTER_LITERAL[state];
        continue;
      }
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      probabilities[p] = probability - (probability >>> 5);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | input[next++];
      }

      let lengths = REPEAT_LENGTH;
      p = IS_REP + state;
      probability = probabilities[p];
      bound = Math.imul(range >>> 11, probability);
      const simple = code >>> 0 < bound >>> 0;
      if (simple) {
        range = bound;
        probabilities[p] = probability + ((2048 - probability) >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[next++];
        }
        rep3 = rep2;
        rep2 = rep1;
        rep1 = rep0;
        lengths = MATCH_LENGTH;
        state = state < 7 ? 7 : 10;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probabilities[p] = probability - (probability >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[next++];
        }
        p = IS_REP0 + state;
        probability = probabilities[p];
        bound = Math.imul(range >>> 11, probability);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probabilities[p] = probability + ((2048 - probability) >>> 5);
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[next++];
          }
          p = IS_REP0_LONG + (state << 4) + positionState;
          probability = probabilities[p];
          bound = Math.imul(range >>> 11, probability);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probabilities[p] = probability + ((2048 - probability) >>> 5);
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[next++];
            }
            const source = out - rep0 - 1;
            if (source < oldest) return false;
            window[out++] = window[source];
            state = state < 7 ? 9 : 11;
            continue;
          }
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probabilities[p] = probability - (probability >>> 5);
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[next++];
          }
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probabilities[p] = probability - (probability >>> 5);
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[next++];
          }
          let distance = rep1;
          p = IS_REP1 + state;
          probability = probabilities[p];
          bound = Math.imul(range >>> 11, probability);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probabilities[p] = probability + ((2048 - probability) >>> 5);
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probabilities[p] = probability - (probability >>> 5);
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[next++];
            }
            p = IS_REP2 + state;
            probability = probabilities[p];
            bound = Math.imul(range >>> 11, probability);
            if (code >>> 0 < bound >>> 0) {
              range = bound;
              probabilities[p] = probability + ((2048 - probability) >>> 5);
              distance = rep2;
            } else {
              range = (range - bound) | 0;
              code = (code - bound) | 0;
              probabilities[p] = probability - (probability >>> 5);
              distance = rep3;
              rep3 = rep2;
            }
            rep2 = rep1;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[next++];
          }
          rep1 = rep0;
          rep0 = distance;
        }
        state = state < 7 ? 8 : 11;
      }

      // The length: two choices pick one of three trees.
      let tree = lengths + LENGTH_LOW + (positionState << 3);
      let size = 8;
      let length = 2;
      p = lengths;
      probability = probabilities[p];
      bound = Math.imul(range >>> 11, probability);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probabilities[p] = probability + ((2048 - probability) >>> 5);
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probabilities[p] = probability - (probability >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[next++];
        }
        p = lengths + 1;
        probability = probabilities[p];
        bound = Math.imul(range >>> 11, probability);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probabilities[p] = probability + ((2048 - probability) >>> 5);
          tree = lengths + LENGTH_MIDDLE + (positionState << 3);
          length = 10;
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probabilities[p] = probability - (probability >>> 5);
          tree = lengths + LENGTH_HIGH;
          size = 256;
          length = 18;
        }
      }
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | input[next++];
      }
      let node = 1;
      do {
        p = tree + node;
        probability = probabilities[p];
        bound = Math.imul(range >>> 11, probability);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probabilities[p] = probability + ((2048 - probability) >>> 5);
          node <<= 1;
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probabilities[p] = probability - (probability >>> 5);
          node = (node << 1) | 1;
        }
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[next++];
        }
      } while (node < size);
      length += node - size;

      if (simple) {
        tree = DISTANCE_SLOT + ((length < 6 ? length - 2 : 3) << 6);
        node = 1;
        do {
          p = tree + node;
          probability = probabilities[p];
          bound = Math.imul(range >>> 11, probability);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probabilities[p] = probability + ((2048 - probability) >>> 5);
            node <<= 1;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probabilities[p] = probability - (probability >>> 5);
            node = (node << 1) | 1;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[next++];
          }
        } while (node < 64);
        const slot = node - 64;
        rep0 = slot;
        if (slot >= 4) {
          let bits = (slot >>> 1) - 1;
          rep0 = (2 | (slot & 1)) << bits;
          tree = DISTANCE_SPECIAL + rep0 - slot;
          if (slot >= 14) {
            // All but the lowest four bits are coded without a model.
            let direct = 0;
            for (let i = bits - 4; i > 0; i--) {
              range >>>= 1;
              code = (code - range) | 0;
              const below = code >> 31;
              code = (code + (range & below)) | 0;
              direct = (direct << 1) + below + 1;
              if (range >>> 24 === 0) {
                range <<= 8;
                code = (code << 8) | input[next++];
              }
            }
            rep0 = (rep0 + (direct << 4)) | 0;
            bits = 4;
            tree = DISTANCE_ALIGN;
          }
          // A tree whose lowest bit comes first.
          node = 1;
          for (let i = 0; i < bits; i++) {
            p = tree + node;
            probability = probabilities[p];
            bound = Math.imul(range >>> 11, probability);
            if (code >>> 0 < bound >>> 0) {
              range = bound;
              probabilities[p] = probability + ((2048 - probability) >>> 5);
              node <<= 1;
            } else {
              range = (range - bound) | 0;
              code = (code - bound) | 0;
              probabilities[p] = probability - (probability >>> 5);
              node = (node << 1) | 1;
              rep0 = (rep0 + (1 << i)) | 0;
            }
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[next++];
            }
          }
        }
      }

      let source = out - (rep0 >>> 0) - 1;
      const stop = out + length;
      if (source < oldest || stop > end) return false;
      while (out < stop) window[out++] = window[source++];
    }
    this.#state = state;
    this.#rep0 = rep0;
    this.#rep1 = rep1;
    this.#rep2 = rep2;
    this.#rep3 = rep3;
    return next === to && code === 0;
  }
}
