/** A module without a handler. */
export const handler = (): void => {};
