// A file system for a guest to start from: the newc form of cpio(5), as the kernel unpacks it.
const FileType = { folder: 0o040000, file: 0o100000, device: 0o020000 };
const TRAILER = "TRAILER!!!";

/** A device that has to be there before the guest has mounted anything: its standard input and output. */
const CONSOLE = { path: "dev/console", mode: FileType.device | 0o600, major: 5, minor: 1 };

/**
 * @param files { PATH: bytes or text }; all may be executed, folders are made
 * @returns the archive
 */
export function initramfs(files) {
  const folders = new Set(["dev", "proc", "sys", "tmp"]);
  for (const path of Object.keys(files)) {
    for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) folders.add(path.slice(0, at));
  }
  const entries = [
    ...[...folders].map((path) => ({ path, mode: FileType.folder | 0o755 })),
    CONSOLE,
    ...Object.entries(files).map(([path, bytes]) => ({ path, mode: FileType.file | 0o755, bytes: Buffer.from(bytes) })),
    { path: TRAILER, mode: 0 },
  ];
  return Buffer.concat(entries.flatMap((entry, i) => archived(entry, i + 1)));
}

function archived({ path, mode, bytes = Buffer.alloc(0), major = 0, minor = 0 }, inode) {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, owner, group, links, time, size, device (2), device that it is (2), length of the name, check sum
  const fields = [inode, mode, 0, 0, 1, 0, bytes.length, 0, 0, major, minor, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`);
  return [padded(Buffer.concat([header, name])), padded(bytes)];
}

function padded(bytes) {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
