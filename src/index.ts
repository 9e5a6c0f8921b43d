/// <reference lib="esnext.disposable" preserve="true" />

// The package's front door: a machine, what can be plugged into it, the native drivers and what their clients hold.

export type { AccessSize, DeviceFactory, DeviceHost, PciDevice, RegisterDevice } from "./bus/device.js";
export { type DmaFault, type DmaPort, type DmaRefusal, IoMmuError, type MappingRecord } from "./bus/io-mmu.js";
export type { PciSlot } from "./bus/pci-bus.js";
export type { PlatformSlot } from "./bus/platform-slot.js";
export { AddressSpaceCapability } from "./capability/address-space.js";
export { Capability, Restriction } from "./capability/capability.js";
export {
  type CallMessage,
  EndpointCapability,
  type Message,
  type Received,
  type Server,
  STRING_LIMIT,
} from "./capability/endpoint.js";
export * from "./capability/errors.js";
export { IrqControlCapability } from "./capability/irq-control.js";
export { PageCapability } from "./capability/page.js";
export { PinControlCapability, type PinRequest } from "./capability/pin-control.js";
export { SpaceBankCapability } from "./capability/space-bank.js";
export { Client, type ClientOptions } from "./clients/client.js";
export { interfaceAddress } from "./clients/internet/address.js";
export { InternetHost, type InternetHostOptions } from "./clients/internet/host.js";
export type { Transfer } from "./clients/internet/transfer.js";
export { type DiskBackend, DiskError } from "./devices/disk-backend.js";
export { type FaultOptions, withFaults, withRegisterFaults } from "./devices/fault-injector.js";
export { I82540em } from "./devices/i82540em.js";
export { KorralNic } from "./devices/korral-nic.js";
export { NvmeController } from "./devices/nvme.js";
export { Pcnet } from "./devices/pcnet.js";
export { Rtl8139, Rtl8139Revision } from "./devices/rtl8139.js";
export type { TerminalLine } from "./devices/terminal-line.js";
export { Uart16550 } from "./devices/uart16550.js";
export { VirtioNet, type VirtioNetOptions } from "./devices/virtio-net.js";
export type { Wire } from "./devices/wire.js";
export { BlockClient, type BlockInfo } from "./drivers/block-service.js";
export { DriverDomain, type DriverOptions } from "./drivers/driver-domain.js";
export { E1000Driver } from "./drivers/e1000/e1000-driver.js";
export { KorralNicDriver } from "./drivers/korral-nic/korral-nic-driver.js";
export { LinkDownError, NetworkClient, type NetworkInfo, type SessionRequest } from "./drivers/network-service.js";
export { NvmeCommandError, NvmeDriver } from "./drivers/nvme/nvme-driver.js";
export { TerminalClient } from "./drivers/terminal-service.js";
export { UartDriver } from "./drivers/uart-driver.js";
export type { BpfProgram } from "./filter/bpf.js";
export { compileFilter } from "./filter/compile.js";
export { disassemble } from "./filter/disassemble.js";
export { FilterRangeError, FilterSyntaxError, FilterVerifyError } from "./filter/errors.js";
export { Demultiplexer, PacketFilter } from "./filter/packet-filter.js";
export { type Finding, FindingCollector } from "./findings/collector.js";
export {
  CaptureError,
  createCaptureWriter,
  MemorySink,
  MemorySource,
  openCapture,
  requireEthernet,
} from "./formats/capture.js";
export { LinuxDomain } from "./linux/domain.js";
export { DriverFailedError, LinuxDriver, type LinuxDriverOptions } from "./linux/driver.js";
export { type KernelFiles, KernelPackage } from "./linux/kernel-package.js";
export { LinuxKernel, type LoadOptions } from "./linux/linux-kernel.js";
export { NetDevice } from "./linux/net.js";
export { Machine, type MachineOptions, StuckError } from "./machine.js";
export { OutOfMemoryError } from "./memory/physical-memory.js";
export { DmaAccess, type Pin, type PinAccess } from "./memory/pin.js";
export {
  PinAuthorityEndedError,
  PinBoundError,
  type PinBudgetOptions,
  PinBusyError,
  PinPool,
  PinReleaseError,
} from "./memory/pin-budget.js";
export { CaptureWire } from "./ports/capture-wire.js";
export { FaultyDisk } from "./ports/disk-faulty.js";
export { MemoryDisk } from "./ports/disk-image.js";
export { type FrameStream, StreamWire } from "./ports/frame-socket.js";
export { type DatagramPort, DatagramWire } from "./ports/frame-socket-datagram.js";
export { ScriptedTerminal } from "./ports/terminal.js";
export { LoopWire } from "./ports/wire-end.js";
export { FaultyWire } from "./ports/wire-faulty.js";
export { HashWire } from "./ports/wire-hash.js";
export { ObjectPager } from "./transfer/object-pager.js";
export { PacketRingCapability, type RingCounters } from "./transfer/packet-ring.js";
export * from "./util/errors.js";
export { type Random, seededRandom } from "./util/random.js";
