import type { GuestAddress } from "../../util/guest-address.js";
import { OWN, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

/** SKB_CONSUMED, or what stands in its place: nothing was dropped. */
const CONSUMED = "SKB_CONSUMED";

/**
 * Lists of packets that drivers received, on their way into the network stack: those of devices that somebody listens to
 * go no further.
 */
export const networkSeams: SeamFile = ({ guest, receivers, execution }) => {
  const device = guest.field("sk_buff.dev");
  const next = guest.field("sk_buff.next");
  const reasons = guest.image.types.enumerators("skb_drop_reason");
  const reason = Number(reasons.find(({ name }) => name === CONSUMED)?.value ?? 0);
  return [
    seam("void (struct list_head *)", "netif_receive_skb_list_internal", (c) => {
      const head = c.pointer(0);
      const buffers: GuestAddress[] = [];
      for (let at = guest.pointer(head); at !== head && at !== 0; at = guest.pointer(at)) {
        if (!receivers.has(device.pointer(at))) return OWN;
        buffers.push(at);
      }
      if (buffers.length === 0) return OWN;
      for (const buffer of buffers) receivers.get(device.pointer(buffer))?.(buffer);
      for (let i = 0; i < buffers.length; i++) next.set(buffers[i], buffers[i + 1] ?? 0);
      guest.setPointer(head, head);
      guest.setPointer((head + 8) as GuestAddress, head);
      execution.call("kfree_skb_list_reason", buffers[0], reason);
      return undefined;
    }),
  ];
};
