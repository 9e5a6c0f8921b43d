/*
 * What a network driver does all day: descriptors of 16 bytes in rings, a status bit that says whose they are, an array
 * that remembers what each stands for, statistics, and a device that is only played here.
 */
#include "program.h"

enum { RING = 256, PACKETS = 768, BUFFER = 2048, HEADER = 64, FRAGMENTS = 3 };
enum { COPY_BELOW = 256, BUDGET = 64, REFILL = 16 };
enum { DONE = 1, END_OF_PACKET = 2, BAD_CHECKSUM = 4 };
enum { TX_LAST = 1, TX_REPORT = 8, TX_CHECKSUM = 4 };
enum { RX_CRC_ERROR = 1, RX_LENGTH_ERROR = 16 };

struct tx_descriptor {
  u64 address;
  u16 length;
  u8 checksum_at;
  u8 command;
  u8 status;
  u8 checksum_from;
  u16 tag;
};

struct rx_descriptor {
  u64 address;
  u16 length;
  u16 sum;
  u8 status;
  u8 errors;
  u16 tag;
};

struct packet {
  struct packet *next;
  u8 *data;
  u16 length;
  u16 protocol;
  u16 fragments;
  u16 sum;
  struct {
    u32 offset;
    u32 length;
  } fragment[FRAGMENTS];
};

struct buffer_info {
  struct packet *packet;
  u64 address;
  u16 length;
  u16 last;
  u32 stamp;
};

struct statistics {
  u64 packets, bytes, errors, dropped, multicast, restarts;
};

struct tx_ring {
  struct tx_descriptor *descriptors;
  struct buffer_info *info;
  u32 count, next_to_use, next_to_clean;
  u32 stopped;
};

struct rx_ring {
  struct rx_descriptor *descriptors;
  struct buffer_info *info;
  u32 count, next_to_use, next_to_clean;
};

struct adapter {
  struct tx_ring tx;
  struct rx_ring rx;
  struct statistics sent, received;
  void (*deliver)(struct adapter *adapter, struct packet *packet);
  u64 delivered;
  u32 clock;
};

static struct tx_descriptor tx_descriptors[RING];
static struct rx_descriptor rx_descriptors[RING];
static struct buffer_info tx_info[RING], rx_info[RING];
static struct packet packets[PACKETS];
static u8 buffers[PACKETS][BUFFER] __attribute__((aligned(64)));
static struct packet *free_packets;
static struct adapter the_adapter;
/** Head and tail of both rings. */
static volatile u32 registers[4];
enum { TX_HEAD, TX_TAIL, RX_HEAD, RX_TAIL };

static CALLED struct packet *allocate(void) {
  struct packet *packet = free_packets;
  if (packet == 0) return 0;
  free_packets = packet->next;
  packet->next = 0;
  packet->fragments = 0;
  return packet;
}

static CALLED void release(struct packet *packet) {
  packet->next = free_packets;
  free_packets = packet;
}

static inline u32 unused(u32 count, u32 clean, u32 use) {
  return (clean > use ? 0 : count) + clean - use - 1;
}

static CALLED int transmit(struct adapter *adapter, struct packet *packet) {
  struct tx_ring *ring = &adapter->tx;
  u32 i = ring->next_to_use, first = i, last = i;
  if (unused(ring->count, ring->next_to_clean, i) < packet->fragments + 1u) {
    ring->stopped = 1;
    return 0;
  }
  for (u32 k = 0; k < packet->fragments; k++) {
    struct buffer_info *info = &ring->info[i];
    struct tx_descriptor *descriptor = &ring->descriptors[i];
    info->address = (u64)packet->data + packet->fragment[k].offset;
    info->length = packet->fragment[k].length;
    info->stamp = adapter->clock;
    info->packet = 0;
    descriptor->address = info->address;
    descriptor->length = info->length;
    descriptor->command = packet->protocol == 0x0800 ? TX_CHECKSUM : 0;
    descriptor->checksum_from = 14;
    descriptor->checksum_at = 24;
    descriptor->tag = 0;
    descriptor->status = 0;
    last = i;
    if (++i == ring->count) i = 0;
  }
  ring->descriptors[last].command |= TX_LAST | TX_REPORT;
  ring->info[last].packet = packet;
  ring->info[first].last = last;
  BARRIER();
  ring->next_to_use = i;
  registers[TX_TAIL] = i;
  return 1;
}

static CALLED u32 clean_transmit(struct adapter *adapter) {
  struct tx_ring *ring = &adapter->tx;
  u32 i = ring->next_to_clean, cleaned = 0;
  u64 bytes = 0, count = 0;
  while (i != ring->next_to_use) {
    u32 last = ring->info[i].last;
    if ((ring->descriptors[last].status & DONE) == 0) break;
    BARRIER();
    for (;;) {
      struct buffer_info *info = &ring->info[i];
      struct tx_descriptor *descriptor = &ring->descriptors[i];
      u32 was = i;
      if (info->address != 0) info->address = 0;
      bytes += info->length;
      if (info->packet != 0) {
        release(info->packet);
        info->packet = 0;
        count++;
      }
      descriptor->status = 0;
      descriptor->address = 0;
      cleaned++;
      if (++i == ring->count) i = 0;
      if (was == last) break;
    }
  }
  ring->next_to_clean = i;
  if (ring->stopped && unused(ring->count, i, ring->next_to_use) >= 32) {
    ring->stopped = 0;
    adapter->sent.restarts++;
  }
  adapter->sent.bytes += bytes;
  adapter->sent.packets += count;
  return cleaned;
}

static CALLED void refill(struct adapter *adapter, u32 count) {
  struct rx_ring *ring = &adapter->rx;
  u32 i = ring->next_to_use;
  while (count-- != 0) {
    struct buffer_info *info = &ring->info[i];
    struct rx_descriptor *descriptor = &ring->descriptors[i];
    if (info->packet == 0) {
      struct packet *packet = allocate();
      if (packet == 0) {
        adapter->received.dropped++;
        break;
      }
      info->packet = packet;
      info->address = (u64)packet->data;
      info->length = BUFFER;
    }
    descriptor->address = info->address;
    descriptor->status = 0;
    if (++i == ring->count) i = 0;
  }
  if (ring->next_to_use != i) {
    ring->next_to_use = i;
    BARRIER();
    registers[RX_TAIL] = i;
  }
}

/** A small frame moves to a packet of its own, so that the large buffer can stay where it is. */
static struct packet *copied(struct buffer_info *info, u32 length) {
  struct packet *packet = allocate();
  if (packet == 0) return 0;
  const u64 *from = (const u64 *)info->packet->data;
  u64 *to = (u64 *)packet->data;
  for (u32 words = (length + 7) / 8; words > 0; words--) {
    *to++ = *from++;
    BARRIER();
  }
  return packet;
}

static CALLED u32 clean_receive(struct adapter *adapter, u32 budget) {
  struct rx_ring *ring = &adapter->rx;
  u32 i = ring->next_to_clean, done = 0, to_refill = 0;
  u64 bytes = 0, count = 0;
  struct rx_descriptor *descriptor = &ring->descriptors[i];
  while ((descriptor->status & DONE) != 0 && done < budget) {
    struct buffer_info *info = &ring->info[i];
    u8 status = descriptor->status;
    u32 length = descriptor->length;
    struct packet *packet;
    done++;
    BARRIER();
    if (++i == ring->count) i = 0;
    descriptor->status = 0;
    to_refill++;
    if ((status & END_OF_PACKET) == 0 || descriptor->errors != 0) {
      adapter->received.errors++;
      goto next;
    }
    length -= 4;
    if (length < COPY_BELOW) {
      packet = copied(info, length);
      if (packet == 0) {
        adapter->received.dropped++;
        goto next;
      }
    } else {
      packet = info->packet;
      info->packet = 0;
      info->address = 0;
    }
    bytes += length;
    count++;
    packet->length = length;
    packet->sum = status & BAD_CHECKSUM ? 0 : descriptor->sum;
    packet->protocol = (u16)(packet->data[12] << 8 | packet->data[13]);
    if (packet->data[0] & 1) adapter->received.multicast++;
    adapter->deliver(adapter, packet);
  next:
    if (to_refill >= REFILL) {
      refill(adapter, to_refill);
      to_refill = 0;
    }
    descriptor = &ring->descriptors[i];
  }
  ring->next_to_clean = i;
  u32 free = unused(ring->count, i, ring->next_to_use);
  if (free != 0) refill(adapter, free);
  adapter->received.packets += count;
  adapter->received.bytes += bytes;
  return done;
}

/** The stack above: some frames are answered, the others counted. */
static void deliver(struct adapter *adapter, struct packet *packet) {
  u64 seen = adapter->delivered;
  switch (packet->protocol) {
    case 0x0800: {
      u32 source = *(u32 *)(packet->data + 28);
      seen += source ^ packet->sum;
      if ((source & 3) == 0) {
        packet->fragments = 1 + source % FRAGMENTS;
        u32 offset = 0, part = packet->length / packet->fragments;
        for (u32 k = 0; k < packet->fragments; k++, offset += part) {
          packet->fragment[k].offset = offset;
          packet->fragment[k].length = k + 1u == packet->fragments ? packet->length - offset : part;
        }
        adapter->delivered = seen;
        if (transmit(adapter, packet)) return;
        adapter->sent.dropped++;
        seen = adapter->delivered;
      }
      break;
    }
    case 0x0806: seen = seen * 3 + packet->data[21]; break;
    case 0x86dd: seen ^= *(u64 *)(packet->data + 24); break;
    default: seen++;
  }
  adapter->delivered = seen;
  release(packet);
}

static CALLED u64 play_transmit(u32 most) {
  u64 sum = 0;
  u32 head = registers[TX_HEAD], tail = registers[TX_TAIL];
  while (head != tail && most-- > 0) {
    struct tx_descriptor *descriptor = &tx_descriptors[head];
    sum = sum * 5 + descriptor->length + *(u8 *)descriptor->address;
    if (descriptor->command & TX_REPORT) descriptor->status |= DONE;
    if (++head == RING) head = 0;
  }
  registers[TX_HEAD] = head;
  return sum;
}

static CALLED void play_receive(u32 *random, u32 most) {
  static const u16 protocols[4] = {0x0008, 0x0008, 0x0608, 0xdd86};
  u32 head = registers[RX_HEAD], tail = registers[RX_TAIL];
  while (head != tail && most-- > 0) {
    struct rx_descriptor *descriptor = &rx_descriptors[head];
    u32 choice = next_random(random);
    u64 *frame = (u64 *)descriptor->address;
    frame[0] = choice & 0x70 ? 0x0002 : 0x0001;
    frame[1] = (u64)protocols[choice & 3] << 32;
    frame[2] = choice * 0x10001ul;
    frame[3] = (u64)choice << 32 | choice;
    descriptor->length = (choice & 8 ? 64 : 64 + (choice >> 8) % 1400) + 4;
    descriptor->sum = choice >> 16;
    descriptor->errors = choice >> 26 ? 0 : RX_CRC_ERROR;
    BARRIER();
    descriptor->status = DONE | END_OF_PACKET | (choice >> 29 ? 0 : BAD_CHECKSUM);
    if (++head == RING) head = 0;
  }
  registers[RX_HEAD] = head;
}

static void start(struct adapter *adapter) {
  *adapter = (struct adapter){
      .tx = {.descriptors = tx_descriptors, .info = tx_info, .count = RING},
      .rx = {.descriptors = rx_descriptors, .info = rx_info, .count = RING},
      .deliver = deliver,
  };
  free_packets = 0;
  for (u32 i = 0; i < PACKETS; i++) {
    packets[i].data = buffers[i];
    release(&packets[i]);
    for (u32 k = 0; k < HEADER; k++) {
      buffers[i][k] = k;
      BARRIER();
    }
  }
  for (u32 i = 0; i < RING; i++) {
    tx_descriptors[i] = (struct tx_descriptor){0};
    rx_descriptors[i] = (struct rx_descriptor){0};
    tx_info[i] = rx_info[i] = (struct buffer_info){0};
    BARRIER();
  }
  for (u32 i = 0; i < LENGTH(registers); i++) registers[i] = 0;
  refill(adapter, RING - 1);
}

unsigned long run(unsigned long iterations) {
  struct adapter *adapter = &the_adapter;
  u32 random = 1234567;
  u64 checksum = 0;
  start(adapter);
  for (u64 i = 0; i < iterations; i++) {
    adapter->clock++;
    play_receive(&random, 24 + (i & 63));
    u32 received = clean_receive(adapter, BUDGET);
    /* At times the link is busy and the ring runs full. */
    checksum += play_transmit((i & 63) < 12 ? 0 : 24 + (i & 31));
    u32 cleaned = clean_transmit(adapter);
    checksum = mix(checksum, adapter->delivered ^ (u64)received << 40 ^ (u64)cleaned << 50);
  }
  const u64 *counts = (const u64 *)&adapter->sent;
  for (u32 i = 0; i < 2 * sizeof(struct statistics) / sizeof(u64); i++) checksum = mix(checksum, counts[i]);
  return checksum;
}
