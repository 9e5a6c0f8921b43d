/** Names in archives, made harmless: relative to the archive's root, and never above it. */

/**
 * @returns `a/b/c` without `.` and empty parts, the empty string for the root itself; undefined for a name that is
 * absolute, climbs with `..`, or holds a zero
 */
export function safePath(name: string): string | undefined {
  if (name.startsWith("/") || name.includes("\0")) return undefined;
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  return parts.includes("..") ? undefined : parts.join("/");
}

/**
 * Where a symbolic link leads, if the archive's root is the root of the file system.
 * @param path of the link, safe
 * @returns a safe path, or undefined if it leads out of the tree
 */
export function safeTarget(path: string, target: string): string | undefined {
  if (target === "" || target.includes("\0")) return undefined;
  const parts = target.startsWith("/") ? [] : path.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join("/");
}
