// The few system calls that a static program needs to start, to print and to end (Linux, arch/x86/entry/syscalls).

const PAGE = 4096;
const EBADF = -9n;
const ENOENT = -2n;
const ENOSYS = -38n;
const ENOMEM = -12n;
const ENOTTY = -25n;
const WRITABLE = { read: true, write: true, execute: false };
const MAP_FIXED = 0x10n;
const MAP_ANONYMOUS = 0x20n;
/** Where memory is handed out, and where it ends. */
const MMAP_START = 0x50000000;
const MMAP_END = 0x60000000;
const FD_TABLE = { stdout: 1n, stderr: 2n };
const up = (value, to) => Math.ceil(value / to) * to;

/** A program's view of Linux, as far as it goes: what is not here answers ENOSYS, and is noted. */
export class LinuxCalls {
  /** What was written to standard output and standard error. */
  written = [];
  status = null;
  /** Numbers of calls that are not here. */
  unknown = new Set();
  #brk;
  #mapped;
  #next = MMAP_START;

  constructor(sandbox, heap) {
    this.sandbox = sandbox;
    this.#brk = heap;
    this.#mapped = heap;
  }

  /** To be put in place of what carries out `syscall`. */
  carryOut() {
    const { cpu } = this.sandbox;
    const [number, ...args] = ["rax", "rdi", "rsi", "rdx", "r10", "r8", "r9"].map((r) => this.sandbox.register(r));
    const result = this.#call(Number(number), args);
    // RCX and R11 are where the processor keeps RIP and RFLAGS meanwhile (Intel SDM volume 2, SYSCALL).
    this.sandbox.setRegister("rcx", cpu.rip + 2n);
    this.sandbox.setRegister("r11", this.sandbox.register("rflags"));
    this.sandbox.setRegister("rax", BigInt.asUintN(64, result));
    return this.status === null ? "next" : "halt";
  }

  get output() {
    return Buffer.concat(this.written);
  }

  #call(number, args) {
    switch (number) {
      case 1:
        return this.#write(args[0], args[1], args[2]);
      case 5:
      case 262:
        return ENOENT;
      case 9:
        return this.#mmap(args);
      case 10: // mprotect
      case 11: // munmap
      case 13: // rt_sigaction
      case 14: // rt_sigprocmask
      case 202: // futex
      case 273: // set_robust_list
        return 0n;
      case 12:
        return this.#setBrk(Number(args[0]));
      case 16:
        return ENOTTY;
      case 20:
        return this.#writeVector(args);
      case 39: // getpid
      case 186: // gettid
      case 218: // set_tid_address
        return 1n;
      case 89:
      case 267:
        return ENOENT;
      case 102: // getuid, getgid, geteuid, getegid
      case 104:
      case 107:
      case 108:
        return 1000n;
      case 158:
        return this.#archPrctl(args[0], args[1]);
      case 60:
      case 231:
        this.status = Number(args[0] & 0xffn);
        return 0n;
      case 318: {
        this.sandbox.write(Number(args[0]), new Uint8Array(Number(args[1])).fill(7));
        return args[1];
      }
      default:
        this.unknown.add(number);
        return ENOSYS;
    }
  }

  #write(fd, address, size) {
    if (fd !== FD_TABLE.stdout && fd !== FD_TABLE.stderr) return EBADF;
    if (size > 0n) this.written.push(Buffer.from(this.sandbox.read(Number(address), Number(size))));
    return size;
  }

  #writeVector([fd, vector, count]) {
    let total = 0n;
    for (let i = 0; i < Number(count); i++) {
      const entry = Buffer.from(this.sandbox.read(Number(vector) + 16 * i, 16));
      const size = entry.readBigUInt64LE(8);
      if (this.#write(fd, entry.readBigUInt64LE(0), size) < 0n) return EBADF;
      total += size;
    }
    return total;
  }

  #setBrk(wanted) {
    if (wanted < this.#brk || wanted >= MMAP_START) return BigInt(this.#brk);
    const end = up(wanted, PAGE);
    if (end > this.#mapped) this.sandbox.map(this.#mapped, end - this.#mapped, WRITABLE, "heap");
    this.#mapped = Math.max(end, this.#mapped);
    this.#brk = wanted;
    return BigInt(wanted);
  }

  /** Anonymous memory, where it suits. */
  #mmap([, length, protection, flags]) {
    const size = up(Number(length), PAGE);
    if ((flags & MAP_ANONYMOUS) === 0n || (flags & MAP_FIXED) !== 0n) return ENOSYS;
    if (this.#next + size > MMAP_END) return ENOMEM;
    const at = this.#next;
    this.#next += size;
    this.sandbox.map(at, size, { ...WRITABLE, execute: (protection & 4n) !== 0n }, "mmap");
    return BigInt(at);
  }

  #archPrctl(code, value) {
    if (code !== 0x1002n) return ENOSYS;
    this.sandbox.cpu.fsBase = value;
    return 0n;
  }
}
