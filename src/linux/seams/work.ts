import type { GuestAddress } from "../../util/guest-address.js";
import { type Call, type SeamResult, SWITCHED, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

/** Work queues, RCU and asynchronous calls. */
export const workSeams: SeamFile = (services) => {
  const { guest, work, threads, format, rcu, interrupts } = services;
  const WORK = "work_struct";
  const DELAYED = "delayed_work";

  const flag = (value: boolean): number => (value ? 1 : 0);
  /** The `work_struct` within a `delayed_work` is its first member. */
  const isIdle = (item: GuestAddress): boolean => !work.isPending(item) && !work.isRunning(item);

  const waitFor = (done: () => boolean, answer: number): SeamResult => {
    if (done()) return answer;
    threads.block(done, Number.POSITIVE_INFINITY, () => answer);
    return SWITCHED;
  };

  const flush = (item: GuestAddress): SeamResult => {
    if (isIdle(item) || work.isOwn(item)) return 0;
    return waitFor(() => isIdle(item), 1);
  };

  const cancelAndWait = (item: GuestAddress): SeamResult => {
    const was = flag(work.cancel(item));
    if (!work.isRunning(item) || work.isOwn(item)) return was;
    return waitFor(() => {
      // What queues itself again is cancelled again.
      work.cancel(item);
      return !work.isRunning(item);
    }, was);
  };

  const flushQueue = (c: Call): SeamResult => {
    const queue = c.pointer(0);
    const mark = work.mark;
    return waitFor(() => !work.isBusy(queue, mark), 0);
  };

  return [
    seam(
      "struct workqueue_struct *(const char *, unsigned int, int, ...)",
      "alloc_workqueue alloc_workqueue_noprof",
      (c) => work.create(format(c.pointer(0), c.variable(3, 10)), c.int(1), c.int(2)),
    ),
    seam("void (struct workqueue_struct *)", "destroy_workqueue", (c) => {
      const queue = c.pointer(0);
      const done = (): boolean => !work.isBusy(queue, Number.POSITIVE_INFINITY);
      if (done()) {
        work.destroy(queue);
        return undefined;
      }
      threads.block(done, Number.POSITIVE_INFINITY, () => {
        work.destroy(queue);
        return 0;
      });
      return SWITCHED;
    }),
    seam(`bool (int, struct workqueue_struct *, struct ${WORK} *)`, "queue_work_on queue_work_node", (c) =>
      flag(work.queue(c.pointer(1), c.pointer(2))),
    ),
    seam(`bool (int, struct workqueue_struct *, struct ${DELAYED} *, unsigned long)`, "queue_delayed_work_on", (c) =>
      flag(work.queueDelayed(c.pointer(1), c.pointer(2), c.size(3))),
    ),
    seam(`bool (int, struct workqueue_struct *, struct ${DELAYED} *, unsigned long)`, "mod_delayed_work_on", (c) =>
      flag(work.modifyDelayed(c.pointer(1), c.pointer(2), c.size(3))),
    ),
    seam("bool (struct workqueue_struct *, struct rcu_work *)", "queue_rcu_work", (c) =>
      flag(work.queue(c.pointer(0), (c.pointer(1) + guest.offset("rcu_work.work")) as GuestAddress)),
    ),
    seam(`bool (struct ${WORK} *)`, "cancel_work", (c) => flag(work.cancel(c.pointer(0)))),
    seam(`bool (struct ${WORK} *)`, "cancel_work_sync disable_work_sync", (c) => cancelAndWait(c.pointer(0))),
    seam(`bool (struct ${DELAYED} *)`, "cancel_delayed_work", (c) => flag(work.cancel(c.pointer(0)))),
    seam(`bool (struct ${DELAYED} *)`, "cancel_delayed_work_sync disable_delayed_work_sync", (c) =>
      cancelAndWait(c.pointer(0)),
    ),
    seam(`bool (struct ${WORK} *)`, "enable_work", () => 1),
    seam(`bool (struct ${DELAYED} *)`, "enable_delayed_work", () => 1),
    seam(`bool (struct ${WORK} *)`, "flush_work", (c) => flush(c.pointer(0))),
    seam(`bool (struct ${DELAYED} *)`, "flush_delayed_work", (c) => {
      work.hurry(c.pointer(0));
      return flush(c.pointer(0));
    }),
    seam("void (struct workqueue_struct *)", "__flush_workqueue drain_workqueue", flushQueue),
    seam(
      `unsigned int (struct ${WORK} *)`,
      "work_busy",
      (c) => (work.isPending(c.pointer(0)) ? 1 : 0) | (work.isRunning(c.pointer(0)) ? 2 : 0),
    ),
    seam("void (struct workqueue_struct *, int)", "workqueue_set_max_active", () => undefined),
    seam("int (work_func_t)", "schedule_on_each_cpu", (c) => {
      threads.callNow(c.pointer(0), 0);
      return 0;
    }),

    seam("void (struct callback_head *, rcu_callback_t)", "call_rcu call_rcu_hurry", (c) => {
      rcu.add(c.pointer(0), c.pointer(1));
      return undefined;
    }),
    seam("void (struct srcu_struct *, struct callback_head *, rcu_callback_t)", "call_srcu", (c) => {
      rcu.add(c.pointer(1), c.pointer(2));
      return undefined;
    }),
    seam(
      ["void (struct callback_head *, rcu_callback_t)", "void (struct callback_head *, void *)"],
      "kvfree_call_rcu",
      (c) => {
        // With a head, 6.1 passes its distance from the start of what is freed; 6.12 always passes the start.
        const [head, other] = [c.pointer(0), c.pointer(1)];
        const start = head !== 0 && other >= 0 && other < 4096 ? ((head - other) as GuestAddress) : other;
        services.execution.call("kvfree", start);
        return undefined;
      },
    ),
    seam("void (void)", "synchronize_rcu synchronize_rcu_expedited synchronize_net", () =>
      waitFor(() => !threads.hasReaders, 0),
    ),
    seam("void (struct srcu_struct *)", "synchronize_srcu synchronize_srcu_expedited", () => undefined),
    seam("void (struct srcu_struct *)", "srcu_barrier", () => undefined),
    seam("void (void)", "rcu_barrier rcu_barrier_tasks", () => {
      const { forced } = interrupts;
      if (forced !== null && threads.current !== null) return waitFor(() => forced.isDrained, 0);
      for (let next = rcu.take(); next !== null; next = rcu.take()) interrupts.callInSoftirq(next.function, next.head);
      return undefined;
    }),

    seam("async_cookie_t (async_func_t, void *, int, struct async_domain *)", "async_schedule_node_domain", (c) =>
      services.async.add(c.pointer(0), c.pointer(1), c.pointer(3)),
    ),
    seam("async_cookie_t (async_func_t, void *, int)", "async_schedule_node", (c) =>
      services.async.add(c.pointer(0), c.pointer(1), guest.symbol("async_dfl_domain")),
    ),
    seam("bool (async_func_t, struct device *)", "async_schedule_dev_nocall", () => 0),
    seam("void (void)", "async_synchronize_full", () => waitFor(() => services.async.idle, 0)),
    seam("void (struct async_domain *)", "async_synchronize_full_domain", (c) => {
      const domain = c.pointer(0);
      return waitFor(() => services.async.isDone(domain), 0);
    }),
    seam("void (async_cookie_t, struct async_domain *)", "async_synchronize_cookie_domain", (c) => {
      const cookie = c.size(0);
      const domain = c.pointer(1);
      return waitFor(() => services.async.isDone(domain, cookie), 0);
    }),
  ];
};
