/** What getting a kernel is at. */
export type KernelStep = "wait" | "lists" | "download" | "unpack" | "index";

/**
 * Hears of what takes long.
 * @param part how much of the step is done, 0 to 1
 * @param subject the package at hand; empty where there is none
 */
export type KernelProgress = (step: KernelStep, part: number, subject: string) => void;

export const silent: KernelProgress = () => {};
