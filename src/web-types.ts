/**
 * The types of the web platform that appear in this library's own, for programs whose `lib` has none of them. They merge
 * with the real ones where there are any, which takes the same parameters, `any` included.
 */
declare global {
  interface AbortSignal {}
  interface URL {}
  // biome-ignore lint/suspicious/noExplicitAny: see above
  interface ReadableStream<R = any> {}
  // biome-ignore lint/suspicious/noExplicitAny: see above
  interface WritableStream<W = any> {}
}

export {};
