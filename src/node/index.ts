// Files and terminals for machines that run under Node.js, and what builds bundles for those that run in a browser.
export { createCaptureFile, openCaptureFile } from "./capture-file.js";
export { FileDisk } from "./file-disk.js";
export { FileSink } from "./file-sink.js";
export { FileSource } from "./file-source.js";
export { connectForFrames, type FrameSocket, listenForFrames } from "./frame-socket.js";
export { type FrameDatagrams, openFrameDatagrams } from "./frame-socket-datagram.js";
export { type BundlerPlugin, icedForBrowsers } from "./iced-for-browsers.js";
export { KernelStore, type KernelStoreOptions, openKernel } from "./kernel-store.js";
export { TcpTerminal } from "./terminal-tcp.js";
export { attachTty } from "./terminal-tty.js";
