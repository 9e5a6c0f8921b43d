// Runs snippets of x86-64 code on the processor at hand and tells what each left behind. Freestanding: the snippets get
// every register, FS and GS included, so nothing here may need a C library's thread pointer.
//
// Each case is entered by returning from the signal handler that ended the one before, and ends in a signal itself (int3
// fills the code around it): a signal frame carries all of a processor's state both ways. The first is entered from a ud2.
//
// stdin and stdout carry little-endian records as native.ts writes and reads them.
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define CODE 0x10000000ul
#define CODE_SIZE 0x2000ul
#define DATA 0x20000000ul
#define DATA_SIZE 0x3000ul
#define DATA_WRITABLE 0x2000ul
#define STACK 0x30000000ul
#define STACK_SIZE 0x1000ul
#define IMAGE_SIZE (DATA_SIZE + STACK_SIZE)

#define OUTPUT_SIZE (1ul << 22)
#define MOST_OF_A_RESULT (1ul << 16)

struct head {
  u32 magic, cases;
  u64 input_size;
};
struct input {
  u32 code_address, code_length, patches, reserved;
  u64 registers[16], flags, fs_base, gs_base;
  u8 xmm[256];
};
struct patch {
  u32 address, length;
};
struct output {
  u32 vector, error, timed_out, changes;
  u64 rip, fault_address, registers[16], flags;
  u8 xmm[256];
};
struct change {
  u64 address, value;
};

struct kernel_sigaction {
  void (*handler)(int, siginfo_t *, void *);
  u64 flags;
  void (*restorer)(void);
  u64 mask;
};

static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#define call(number, ...) call_(number, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define call_(number, a, b, c, d, e, f, ...) \
  syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

void *memcpy(void *to, const void *from, unsigned long count) {
  void *start = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  return start;
}
void *memset(void *to, int value, unsigned long count) {
  void *start = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
  return start;
}

static void leave(int status) {
  call(SYS_exit_group, status);
  __builtin_unreachable();
}

static void *map(u64 address, u64 size, int protection, int flags, int file) {
  long at = call(SYS_mmap, address, size, protection, flags, file, 0);
  if (at < 0 && at > -4096) leave(3);
  return (void *)at;
}

static const u8 *next_input;
static u32 cases_left;
// What a case started from, the fixed image with its patches applied; and the image alone.
static u8 *before, *image;
static u8 *code_alias;
static u32 code_offset, code_length;
static const u8 *patches;
static u32 patch_count;
static u64 fs_base, gs_base;
static u8 *output;
static u64 output_used;
static u32 case_number, case_at_last_alarm;

static void flush(void) {
  for (u64 done = 0; done < output_used;) {
    long count = call(SYS_write, 1, output + done, output_used - done);
    if (count <= 0) leave(4);
    done += count;
  }
  output_used = 0;
}

static u8 *live(u64 offset) { return (u8 *)(offset < DATA_SIZE ? DATA + offset : STACK + offset - DATA_SIZE); }
static u64 image_offset(u32 address) { return address >= STACK ? address - STACK + DATA_SIZE : address - DATA; }

// Only the writable part of the data: the rest cannot have changed.
static u32 collect_changes(u64 from, u64 to, struct change *changes) {
  u32 count = 0;
  for (u64 offset = from; offset < to; offset += 8) {
    u64 *now = (u64 *)live(offset);
    if (*now == *(u64 *)(before + offset)) continue;
    changes[count].address = (u64)now;
    changes[count++].value = *now;
    *now = *(u64 *)(image + offset);
  }
  return count;
}

static void finish_case(ucontext_t *context, int timed_out) {
  greg_t *g = context->uc_mcontext.gregs;
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  struct output *out = (struct output *)(output + output_used);
  out->vector = g[REG_TRAPNO];
  out->error = g[REG_ERR];
  out->timed_out = timed_out;
  out->rip = g[REG_RIP];
  out->fault_address = g[REG_CR2];
  for (int i = 0; i < 16; i++) out->registers[i] = g[order[i]];
  out->flags = g[REG_EFL];
  u8 *fpstate = (u8 *)context->uc_mcontext.fpregs;
  if (*(u64 *)(fpstate + 512) & 2)
    memcpy(out->xmm, fpstate + 160, 256);
  else
    memset(out->xmm, 0, 256);
  struct change *changes = (struct change *)(out + 1);
  out->changes = collect_changes(0, DATA_WRITABLE, changes);
  out->changes += collect_changes(DATA_SIZE, IMAGE_SIZE, changes + out->changes);
  output_used += sizeof *out + out->changes * sizeof *changes;
  if (output_used > OUTPUT_SIZE - MOST_OF_A_RESULT) flush();

  memset(code_alias + code_offset, 0xcc, code_length);
  const u8 *at = patches;
  for (u32 i = 0; i < patch_count; i++) {
    const struct patch *patch = (const struct patch *)at;
    u64 offset = image_offset(patch->address);
    memcpy(before + offset, image + offset, patch->length);
    memcpy(live(offset), image + offset, patch->length);
    at += sizeof *patch + ((patch->length + 7) & ~7u);
  }
}

static void start_case(ucontext_t *context) {
  if (cases_left-- == 0) {
    flush();
    leave(0);
  }
  case_number++;
  const struct input *in = (const struct input *)next_input;
  greg_t *g = context->uc_mcontext.gregs;
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  for (int i = 0; i < 16; i++) g[order[i]] = in->registers[i];
  g[REG_EFL] = in->flags | 0x202;
  g[REG_RIP] = in->code_address;
  u8 *fpstate = (u8 *)context->uc_mcontext.fpregs;
  *(u32 *)(fpstate + 24) = 0x1f80;
  memcpy(fpstate + 160, in->xmm, 256);
  *(u64 *)(fpstate + 512) |= 2;
  if (in->fs_base != fs_base && call(SYS_arch_prctl, ARCH_SET_FS, fs_base = in->fs_base) != 0) leave(5);
  if (in->gs_base != gs_base && call(SYS_arch_prctl, ARCH_SET_GS, gs_base = in->gs_base) != 0) leave(5);

  code_offset = in->code_address - CODE;
  code_length = in->code_length;
  const u8 *at = next_input + sizeof *in;
  memcpy(code_alias + code_offset, at, code_length);
  at += (code_length + 7) & ~7u;
  patches = at;
  patch_count = in->patches;
  for (u32 i = 0; i < patch_count; i++) {
    const struct patch *patch = (const struct patch *)at;
    u64 offset = image_offset(patch->address);
    at += sizeof *patch;
    memcpy(before + offset, at, patch->length);
    memcpy(live(offset), at, patch->length);
    at += (patch->length + 7) & ~7u;
  }
  next_input = at;
}

static void handler(int signal, siginfo_t *info, void *argument) {
  (void)info;
  // A snippet may have left alignment checks on.
  __asm__ volatile("pushfq; andq $~0x40000, (%%rsp); popfq" : : : "cc", "memory");
  ucontext_t *context = argument;
  if (signal == SIGVTALRM) {
    int stuck = case_at_last_alarm == case_number;
    case_at_last_alarm = case_number;
    if (!stuck) return;
  }
  if (case_number > 0) finish_case(context, signal == SIGVTALRM);
  start_case(context);
}

__attribute__((naked)) static void restorer(void) { __asm__("mov $15, %eax; syscall"); }

static u64 read_all(u8 *to, u64 size) {
  u64 done = 0;
  while (done < size) {
    long count = call(SYS_read, 0, to + done, size - done);
    if (count < 0) leave(6);
    if (count == 0) break;
    done += count;
  }
  return done;
}

__attribute__((used)) static void run(void) {
  struct head head;
  const int any = MAP_PRIVATE | MAP_ANONYMOUS, data = PROT_READ | PROT_WRITE, fixed = MAP_FIXED_NOREPLACE;
  if (read_all((u8 *)&head, sizeof head) != sizeof head || head.magic != 0x6c61726b) leave(2);
  image = map(0, IMAGE_SIZE, data, any, -1);
  before = map(0, IMAGE_SIZE, data, any, -1);
  output = map(0, OUTPUT_SIZE, data, any, -1);
  u8 *input = map(0, head.input_size, data, any, -1);
  if (read_all(image, IMAGE_SIZE) != IMAGE_SIZE) leave(2);
  if (read_all(input, head.input_size) != head.input_size) leave(2);
  next_input = input;
  cases_left = head.cases;
  memcpy(before, image, IMAGE_SIZE);

  int file = call(SYS_memfd_create, "code", 0);
  if (file < 0 || call(SYS_ftruncate, file, CODE_SIZE) != 0) leave(3);
  code_alias = map(0, CODE_SIZE, data, MAP_SHARED, file);
  memset(code_alias, 0xcc, CODE_SIZE);
  map(CODE, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | fixed, file);
  map(DATA, DATA_SIZE, data, any | fixed, -1);
  map(STACK, STACK_SIZE, data, any | fixed, -1);
  memcpy((void *)DATA, image, DATA_SIZE);
  memcpy((void *)STACK, image + DATA_SIZE, STACK_SIZE);
  call(SYS_mprotect, DATA + DATA_WRITABLE, DATA_SIZE - DATA_WRITABLE, PROT_READ);

  stack_t alternate = {.ss_size = 1 << 16};
  alternate.ss_sp = map(0, alternate.ss_size, data, any, -1);
  call(SYS_sigaltstack, &alternate, 0);
  struct kernel_sigaction action = {handler, SA_SIGINFO | SA_ONSTACK | 0x04000000, restorer, ~0ul};
  const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGVTALRM};
  for (u32 i = 0; i < sizeof signals / sizeof *signals; i++) call(SYS_rt_sigaction, signals[i], &action, 0, 8);
  const struct itimerval interval = {{0, 100000}, {0, 100000}};
  call(SYS_setitimer, ITIMER_VIRTUAL, &interval, 0);
  __asm__ volatile("ud2");
  leave(7);
}

__attribute__((naked)) void _start(void) { __asm__("and $-16, %rsp; call run"); }
