/** Operations that are synchronous where they can be: `await` works on both, and the prompt case costs no promise. */
export type MaybePromise<T> = T | Promise<T>;
