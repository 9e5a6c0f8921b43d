declare const brand: unique symbol;

/** A number of one kind that the compiler never lets pass for another kind. */
export type Brand<Name extends string> = number & { readonly [brand]: Name };

/** Index of a 4 KiB frame over all banks: bank × 2^20 + index in the bank. */
export type FrameNumber = Brand<"FrameNumber">;
/** Byte address over all banks: bank × 4 GiB + offset. */
export type MachinePhysical = Brand<"MachinePhysical">;
/** Address that a device puts on its bus; means something to that device's I/O MMU context only. */
export type IoAddress = Brand<"IoAddress">;
/** Nanoseconds since the machine was switched on. */
export type Nanoseconds = Brand<"Nanoseconds">;

export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;
export const PAGE_MASK = 4095;
