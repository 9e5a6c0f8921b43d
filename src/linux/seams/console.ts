import { GuestFailure } from "../../translator/sandbox.js";
import { seam } from "../seam.js";
import type { SeamFile } from "../services.js";

/** KERN_SOH: what follows is the level of the line. */
const START_OF_HEADER = "\u0001";
const DEFAULT_LEVEL = 4;
const CONTINUED = /^[cC]/;

/** printk, at the one function that all of it comes to. */
export const consoleSeams: SeamFile = ({ events, guest, time, format, formatList }) => {
  let open = "";
  let openLevel = DEFAULT_LEVEL;
  const emit = (level: number, text: string): void => {
    events.emit("console", { level, text, time: time.now() });
  };
  return [
    seam("void (const char *, ...)", "panic", (c) => {
      const text = format(c.pointer(0), c.variable(1, 12));
      throw new GuestFailure(guest.sandbox.failure("kernel-panic", `the kernel panics: ${text}`));
    }),
    seam(
      "int (int, int, const struct dev_printk_info *, const char *, struct __va_list_tag *)",
      "vprintk_emit",
      (c) => {
        let text = formatList(c.pointer(3), c.pointer(4));
        let level = c.int(1) >= 0 && c.int(1) <= 7 ? c.int(1) : DEFAULT_LEVEL;
        let continued = false;
        while (text.startsWith(START_OF_HEADER)) {
          const kind = text.slice(1, 2);
          if (/[0-7]/.test(kind)) level = Number(kind);
          continued ||= CONTINUED.test(kind);
          text = text.slice(2);
        }
        const length = text.length;
        if (!continued && open !== "") {
          emit(openLevel, open);
          open = "";
        }
        if (open === "") openLevel = level;
        open += text;
        if (open.endsWith("\n")) {
          for (const line of open.replace(/\n+$/, "").split("\n")) emit(openLevel, line);
          open = "";
        }
        return length;
      },
    ),
  ];
};
