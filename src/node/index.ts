// Files and terminals for machines that run under Node.js.
export { createCaptureFile, openCaptureFile } from "./capture-file.js";
export { FileDisk } from "./file-disk.js";
export { FileSink } from "./file-sink.js";
export { FileSource } from "./file-source.js";
export { TcpTerminal } from "./terminal-tcp.js";
export { attachTty } from "./terminal-tty.js";
