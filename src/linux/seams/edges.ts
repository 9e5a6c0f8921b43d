import type { GuestAddress } from "../../util/guest-address.js";
import { ProcEntries } from "../proc.js";
import { type Call, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

const ENOENT = 2;
const EOPNOTSUPP = 95;

/** Where the kernel ends: user space, /proc, sysctl, netlink, firmware, randomness. Nobody is on the other side. */
export const edgeSeams: SeamFile = ({ guest, heap, random, execution, jumpLabels }) => {
  const placeholder = (type: string) => (): number => heap.allocate(guest.hasType(type) ? guest.sizeOf(type) : 256);
  const freed =
    (argument: number) =>
    (c: Call): undefined => {
      if (c.pointer(argument) !== 0) heap.free(c.pointer(argument));
      return undefined;
    };
  const proc = new ProcEntries(guest, heap);
  /** @param parent index of the argument that is the folder, -1 for the topmost one */
  const entry =
    (parent: number) =>
    (c: Call): number =>
      proc.add(parent < 0 ? (0 as GuestAddress) : c.pointer(parent), guest.text(c.pointer(0)));
  const table = placeholder("ctl_table_header");
  const noFirmware = (c: Call): number => {
    guest.setPointer(c.pointer(0), 0);
    return -ENOENT;
  };
  const freeBuffer = (c: Call, index: number): number => {
    const buffer = c.pointer(index);
    if (buffer !== 0) execution.call("consume_skb", buffer);
    return 0;
  };

  return [
    seam("void (struct static_key *)", "jump_label_update", (c) => {
      jumpLabels.update(c.pointer(0));
      return undefined;
    }),
    seam("int (struct kobject *, enum kobject_action, char **)", "kobject_uevent_env", () => 0),
    seam("int (struct kobject *, enum kobject_action)", "kobject_uevent", () => 0),
    seam("int (short, u32, u32, short)", "devcgroup_check_permission", () => 0),
    // No memory is ever dirty: there is no accounting of it, either.
    seam("bool (struct bdi_writeback *)", "wb_over_bg_thresh", () => 0),
    seam("int (struct device *)", "devtmpfs_create_node devtmpfs_delete_node", () => 0),
    seam("int (struct subprocess_info *, int)", "call_usermodehelper_exec", () => 0),
    seam("int (const char *, char **, char **, int)", "call_usermodehelper", () => 0),
    seam("int (bool, const char *, ...)", "__request_module", () => -ENOENT),

    seam(
      "struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *, void *, bool)",
      "_proc_mkdir",
      entry(2),
    ),
    seam(
      "struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *, void *)",
      "proc_mkdir_data",
      entry(2),
    ),
    seam("struct proc_dir_entry *(const char *, struct proc_dir_entry *)", "proc_mkdir", entry(1)),
    seam("struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *)", "proc_mkdir_mode", entry(2)),
    seam("struct proc_dir_entry *(const char *, struct proc_dir_entry *, const char *)", "proc_symlink", entry(1)),
    seam("struct proc_dir_entry *(const char *)", "proc_create_mount_point", entry(-1)),
    seam(
      "struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *, const struct proc_ops *)",
      "proc_create",
      entry(2),
    ),
    seam(
      "struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *, const struct proc_ops *, void *)",
      "proc_create_data",
      entry(2),
    ),
    seam(
      "struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *, const struct seq_operations *, unsigned int, void *)",
      "proc_create_net_data proc_create_seq_private",
      entry(2),
    ),
    seam(
      "struct proc_dir_entry *(const char *, umode_t, struct proc_dir_entry *, int (*)(struct seq_file *, void *), void *)",
      "proc_create_net_single proc_create_single_data",
      entry(2),
    ),
    seam("void (struct proc_dir_entry *)", "proc_remove", (c) => {
      proc.remove(c.pointer(0));
      return undefined;
    }),
    seam("void (const char *, struct proc_dir_entry *)", "remove_proc_entry", (c) => {
      proc.removeNamed(c.pointer(1), guest.text(c.pointer(0)));
      return undefined;
    }),
    seam("int (const char *, struct proc_dir_entry *)", "remove_proc_subtree", (c) => {
      proc.removeNamed(c.pointer(1), guest.text(c.pointer(0)));
      return 0;
    }),
    seam("void (struct proc_dir_entry *, loff_t)", "proc_set_size", () => undefined),

    seam(
      [
        "struct ctl_table_header *(struct ctl_table_set *, const char *, struct ctl_table *)",
        "struct ctl_table_header *(struct ctl_table_set *, const char *, struct ctl_table *, size_t)",
        "struct ctl_table_header *(struct ctl_table_set *, const char *, const struct ctl_table *, size_t)",
      ],
      "__register_sysctl_table",
      table,
    ),
    seam("struct ctl_table_header *(struct net *, const char *, struct ctl_table *)", "register_net_sysctl", table),
    seam(
      "struct ctl_table_header *(struct net *, const char *, struct ctl_table *, size_t)",
      "register_net_sysctl_sz",
      table,
    ),
    seam("void (struct ctl_table_header *)", "unregister_net_sysctl_table unregister_sysctl_table", freed(0)),

    seam(
      "struct sock *(struct net *, int, struct module *, struct netlink_kernel_cfg *)",
      "__netlink_kernel_create",
      placeholder("netlink_sock"),
    ),
    seam("void (struct sock *)", "netlink_kernel_release", freed(0)),
    seam("int (struct sock *, unsigned int)", "__netlink_change_ngroups netlink_change_ngroups", () => 0),
    seam("void (struct sock *, unsigned int)", "__netlink_clear_multicast_users", () => undefined),
    seam("int (struct sock *, struct sk_buff *, u32, unsigned int, int, gfp_t)", "nlmsg_notify", (c) =>
      freeBuffer(c, 1),
    ),
    seam("void (struct sk_buff *, struct net *, u32, u32, const struct nlmsghdr *, gfp_t)", "rtnl_notify", (c) =>
      freeBuffer(c, 0),
    ),
    seam("void (struct net *, u32, int)", "rtnl_set_sk_err", () => undefined),
    seam("int (struct sock *, struct sk_buff *, u32, u32, gfp_t)", "netlink_broadcast", (c) => freeBuffer(c, 1)),
    seam(
      "int (struct sock *, struct sk_buff *, u32, u32, gfp_t, netlink_filter_fn, void *)",
      "netlink_broadcast_filtered",
      (c) => freeBuffer(c, 1),
    ),
    seam("int (struct sock *, unsigned int)", "netlink_has_listeners", () => 0),
    seam("int (const struct genl_family *, struct sk_buff *, u32, unsigned int)", "genlmsg_multicast_allns", (c) =>
      freeBuffer(c, 1),
    ),

    seam(
      "int (const struct firmware **, const char *, struct device *)",
      "request_firmware firmware_request_nowarn request_firmware_direct firmware_request_platform",
      noFirmware,
    ),
    seam(
      "int (const struct firmware **, const char *, struct device *, void *, size_t)",
      "request_firmware_into_buf",
      noFirmware,
    ),
    seam(
      "int (struct module *, bool, const char *, struct device *, gfp_t, void *, void (*)(const struct firmware *, void *))",
      "request_firmware_nowait",
      () => -EOPNOTSUPP,
    ),

    seam("void (void *, size_t)", "get_random_bytes", (c) => {
      const bytes = new Uint8Array(c.size(1));
      for (let i = 0; i < bytes.length; i++) bytes[i] = random();
      guest.setBytes(c.pointer(0), bytes);
      return undefined;
    }),
    seam("u64 (void)", "get_random_u64", () => (BigInt(random()) << 32n) | BigInt(random())),
    seam("u32 (void)", "get_random_u32", () => random()),
    seam("u16 (void)", "get_random_u16", () => random() & 0xffff),
    seam("u8 (void)", "get_random_u8", () => random() & 0xff),
    seam("u32 (u32)", "__get_random_u32_below", (c) => (c.unsigned(0) === 0 ? random() : random() % c.unsigned(0))),
  ];
};
