import type { GuestAddress } from "../../util/guest-address.js";
import { OWN, SWITCHED, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

/** MAX_SCHEDULE_TIMEOUT: for ever. */
const FOREVER = 2 ** 62;
const KTHREAD_SHOULD_STOP = 1 << 1;
const ALL_STATES = 0xffff_ffff;
const EINTR = 4;

/** Scheduling at its lowest functions; waiting and waking above them is the kernel's own. */
export const threadSeams: SeamFile = ({ guest, threads, time, format, formatList }) => {
  const kthreadOf = (task: GuestAddress): GuestAddress => guest.field("task_struct.worker_private").pointer(task);

  const create = (fn: GuestAddress, data: GuestAddress, name: string): number =>
    threads.spawn(name, fn, [data], true).task;

  return [
    seam("void (void)", "schedule schedule_rtlock rt_mutex_schedule", () => {
      threads.block(null);
      return SWITCHED;
    }),
    seam("long (long)", "schedule_timeout", (c) => {
      const timeout = c.size(0);
      if (timeout >= FOREVER) {
        threads.block(null, Number.POSITIVE_INFINITY, () => timeout);
        return SWITCHED;
      }
      const end = time.jiffies + Math.max(0, timeout);
      threads.block(null, time.timeOf(end), () => Math.max(0, end - time.jiffies));
      return SWITCHED;
    }),
    seam("int (struct task_struct *, unsigned int, int)", "try_to_wake_up", (c) =>
      threads.wake(c.pointer(0), c.unsigned(1)) ? 1 : 0,
    ),
    seam("void (void)", "yield", () => {
      if (threads.current === null) return undefined;
      threads.block(null);
      return SWITCHED;
    }),
    seam("struct task_struct *(int (*)(void *), void *, int, const char *, ...)", "kthread_create_on_node", (c) =>
      create(c.pointer(0), c.pointer(1), format(c.pointer(3), c.variable(4, 12))),
    ),
    seam(
      "struct task_struct *(int (*)(void *), void *, int, const char *, struct __va_list_tag *)",
      "__kthread_create_on_node",
      (c) => create(c.pointer(0), c.pointer(1), formatList(c.pointer(3), c.pointer(4))),
    ),
    seam("struct task_struct *(int (*)(void *), void *, unsigned int, const char *)", "kthread_create_on_cpu", (c) =>
      create(c.pointer(0), c.pointer(1), format(c.pointer(3), [c.big(2)])),
    ),
    seam("int (struct task_struct *)", "kthread_stop", (c) => {
      const task = c.pointer(0);
      const thread = threads.find(task);
      if (thread === null) return -EINTR;
      const kthread = kthreadOf(task);
      guest.write(kthread, 8, guest.read(kthread, 8) | KTHREAD_SHOULD_STOP);
      // One that never ran is not to run now.
      if (!thread.started) {
        threads.end(thread, -EINTR);
        return -EINTR;
      }
      threads.wake(task, ALL_STATES);
      threads.block(
        () => thread.exit !== null,
        Number.POSITIVE_INFINITY,
        () => thread.exit ?? 0,
      );
      return SWITCHED;
    }),
    seam("void (struct task_struct *)", "__put_task_struct", (c) => {
      threads.freeTask(c.pointer(0));
      return undefined;
    }),
    seam("void (struct task_struct *, unsigned int)", "kthread_bind", () => undefined),
    seam("void (struct task_struct *, long)", "set_user_nice", () => undefined),
    seam("void (struct task_struct *)", "sched_set_fifo sched_set_fifo_low", () => undefined),
    // What such threads are for is done where there is none: the backlog of the network by softirqs.
    seam("int (struct smp_hotplug_thread *)", "smpboot_register_percpu_thread", () => 0),
    // Nobody overtakes anybody.
    seam("void (struct task_struct *, struct task_struct *)", "rt_mutex_setprio", () => undefined),
    seam("void (struct task_struct *, int)", "sched_set_normal", () => undefined),
    seam(
      "int (struct task_struct *, int, const struct sched_param *)",
      "sched_setscheduler sched_setscheduler_nocheck",
      () => 0,
    ),
    seam("long (pid_t, const struct cpumask *)", "sched_setaffinity", () => 0),
    seam("bool (int)", "cpuset_cpu_is_isolated", () => 0),
    seam("void (struct task_struct *, const struct cpumask *)", "kthread_bind_mask", () => undefined),
    seam("int (struct task_struct *, const struct cpumask *)", "set_cpus_allowed_ptr", () => 0),
    seam(["void (long)", "void (int)"], "kthread_exit do_exit make_task_dead", (c) => {
      if (threads.current === null) return OWN;
      threads.exited(c.int(0));
      return SWITCHED;
    }),
    seam(["int (cpu_stop_fn_t, void *, const struct cpumask *)"], "stop_machine stop_machine_cpuslocked", (c) =>
      threads.callNow(c.pointer(0), c.pointer(1)),
    ),
  ];
};
