import type { GuestAddress } from "../../util/guest-address.js";
import { type Call, type SeamResult, SWITCHED, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

const SECOND = 1_000_000_000;
/** `__const_udelay` counts in 2^-32 seconds × this: 0x10c7 of them are a microsecond. */
const CONST_UNITS_A_MICROSECOND = 0x10c7;
const HRTIMER_MODE_REL = 1;
/** tk_offsets: real, boot, tai. */
const TK_OFFS_REAL = 0;

/** Clocks, delays and timers. */
export const timeSeams: SeamFile = (services) => [...clocks(services), ...delays(services), ...timers(services)];

const clocks: SeamFile = ({ guest, time }) => {
  const store = (at: GuestAddress, nanoseconds: number): undefined => {
    guest.write(at, 8, Math.floor(nanoseconds / SECOND));
    guest.write((at + 8) as GuestAddress, 8, nanoseconds % SECOND);
    return undefined;
  };
  return [
    seam("ktime_t (void)", "ktime_get ktime_get_raw", () => time.now()),
    seam("ktime_t (void)", "ktime_get_real", () => time.realNow()),
    seam("u64 (void)", "ktime_get_mono_fast_ns ktime_get_raw_fast_ns ktime_get_boot_fast_ns local_clock", () =>
      time.now(),
    ),
    seam(["unsigned long long (void)", "u64 (void)"], "sched_clock", () => time.now()),
    seam("u64 (void)", "ktime_get_real_fast_ns", () => time.realNow()),
    seam("ktime_t (enum tk_offsets)", "ktime_get_with_offset ktime_get_coarse_with_offset", (c) =>
      c.int(0) === TK_OFFS_REAL ? time.realNow() : time.now(),
    ),
    seam("ktime_t (ktime_t, enum tk_offsets)", "ktime_mono_to_any", (c) =>
      c.int(1) === TK_OFFS_REAL ? c.size(0) + time.realNow() - time.now() : c.size(0),
    ),
    seam("time64_t (void)", "ktime_get_seconds", () => Math.floor(time.now() / SECOND)),
    seam("time64_t (void)", "ktime_get_real_seconds", () => Math.floor(time.realNow() / SECOND)),
    seam("void (struct timespec64 *)", "ktime_get_ts64 ktime_get_raw_ts64 ktime_get_coarse_ts64", (c) =>
      store(c.pointer(0), time.now()),
    ),
    seam("void (struct timespec64 *)", "ktime_get_real_ts64 ktime_get_coarse_real_ts64", (c) =>
      store(c.pointer(0), time.realNow()),
    ),
  ];
};

const delays: SeamFile = ({ time }) => {
  const wait = (nanoseconds: number): undefined => {
    time.pass(Math.ceil(nanoseconds));
    return undefined;
  };
  return [
    seam("void (unsigned long)", "__udelay", (c) => wait(c.size(0) * 1000)),
    seam("void (unsigned long)", "__ndelay", (c) => wait(c.size(0))),
    seam("void (unsigned long)", "__const_udelay", (c) => wait((c.size(0) * 1000) / CONST_UNITS_A_MICROSECOND)),
    seam("void (unsigned long)", "__delay", (c) => wait(c.size(0))),
  ];
};

const timers: SeamFile = ({ guest, time, interrupts, threads }) => {
  const start = (c: Call): number => (time.start(c.pointer(0), c.size(1)) ? 1 : 0);
  const stop = (c: Call): number => (time.stop(c.pointer(0)) ? 1 : 0);
  const stopHigh = (c: Call): number => (time.stopHigh(c.pointer(0)) ? 1 : 0);
  const fn = guest.field("timer_list.function");
  const shutDown = (c: Call): number => {
    const was = stop(c);
    fn.set(c.pointer(0), 0);
    return was;
  };
  /** The same, if the timer's function does not run at this time. */
  const unlessRunning =
    (stopIt: (c: Call) => number) =>
    (c: Call): number =>
      interrupts.forced?.isRunning(c.pointer(0)) === true ? -1 : stopIt(c);
  /** The same once the timer's function does not run. */
  const afterwards =
    (stopIt: (c: Call) => number) =>
    (c: Call): SeamResult => {
      const timer = c.pointer(0);
      const was = stopIt(c);
      const { forced } = interrupts;
      if (forced === null || !forced.isRunning(timer)) return was;
      threads.block(
        () => !forced.isRunning(timer),
        Number.POSITIVE_INFINITY,
        () => was,
      );
      return SWITCHED;
    };
  return [
    seam("int (struct timer_list *, unsigned long)", "mod_timer", start),
    seam("int (struct timer_list *, unsigned long)", "mod_timer_pending", (c) =>
      time.isPending(c.pointer(0)) ? start(c) : 0,
    ),
    seam("int (struct timer_list *, unsigned long)", "timer_reduce", (c) => {
      const timer = c.pointer(0);
      if (time.isPending(timer) && time.expiresOf(timer) <= c.size(1)) return 1;
      return start(c);
    }),
    seam("void (struct timer_list *)", "add_timer add_timer_local add_timer_global", (c) => {
      time.start(c.pointer(0), time.expiresOf(c.pointer(0)));
      return undefined;
    }),
    seam("void (struct timer_list *, int)", "add_timer_on", (c) => {
      time.start(c.pointer(0), time.expiresOf(c.pointer(0)));
      return undefined;
    }),
    seam("int (struct timer_list *)", "timer_delete", stop),
    seam("int (struct timer_list *)", "timer_delete_sync", afterwards(stop)),
    seam("int (struct timer_list *)", "try_to_del_timer_sync", unlessRunning(stop)),
    seam("int (struct timer_list *, bool)", "__try_to_del_timer_sync", (c) =>
      unlessRunning((c.int(1) & 1) === 0 ? stop : shutDown)(c),
    ),
    seam("int (struct timer_list *)", "timer_shutdown", shutDown),
    seam("int (struct timer_list *)", "timer_shutdown_sync", afterwards(shutDown)),
    seam("void (struct hrtimer *, ktime_t, u64, enum hrtimer_mode)", "hrtimer_start_range_ns", (c) => {
      const isRelative = (c.int(3) & HRTIMER_MODE_REL) !== 0;
      time.startHigh(c.pointer(0), Math.max(0, c.size(1) + (isRelative ? time.now() : 0)));
      return undefined;
    }),
    seam("int (struct hrtimer *)", "hrtimer_try_to_cancel", (c) =>
      interrupts.forced?.isRunning(c.pointer(0)) === true ? -1 : stopHigh(c),
    ),
    seam("int (struct hrtimer *)", "hrtimer_cancel", afterwards(stopHigh)),
  ];
};
