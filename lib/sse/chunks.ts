/**
 * Chunks of a byte stream, read into one buffer. It stands apart from the decoder because every reader of somebody
 * else's bytes wants it, whatever the bytes mean.
 */

/** As much of a stream's reader as is used. */
export interface ChunkReader {
  /** The chunk is good until the next call. */
  read(): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(reason?: unknown): Promise<void>;
}

/** Bytes of the buffer that is read into. */
const CHUNK_BYTES = 16 * 1024;

/**
 * Reads into one buffer over and over where the runtime can: Deno makes one of 64 KiB for each chunk otherwise,
 * which takes it four times as long (benchmark case: relay, a chunk a token).
 */
export function readerOf(body: ReadableStream<Uint8Array>): ChunkReader {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    // A stream that is not made of bytes, and any of Bun's.
    return body.getReader();
  }
  let buffer = new ArrayBuffer(CHUNK_BYTES);
  return {
    cancel: (reason) => reader.cancel(reason),
    async read() {
      const read = await reader.read(new Uint8Array(buffer));
      if (read.value === undefined) return { done: true, value: undefined };
      buffer = read.value.buffer;
      return read.done ? { done: true, value: undefined } : read;
    },
  };
}
