/** The keeper of descriptors: what a client may say to it (test/fuzz/c/keeper.c has the form of an input). */
import { join } from '../mutate.ts'
import type { Target } from '../target.ts'
import { build, Program } from './c-program.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
/** One message, with so many descriptors. */
const say = (text: string, descriptors = 0): Uint8Array => {
  const bytes = utf8(text)
  return Uint8Array.of((descriptors << 6) | (bytes.length >> 8), bytes.length & 255, ...bytes)
}

export async function openKeeper(): Promise<Target> {
  const program = new Program(build({ name: 'keeper', flags: ['-Wno-unused-function'] }))
  return {
    name: 'keeper',
    seeds: [
      join(say('put host', 1), say('put pod a@eth0', 1), say('list'), say('remove host'), say('list')),
      join(say('put host', 1), say('put host', 2), say('put', 1), say('put none'), say('end')),
      join(...Array.from({ length: 8 }, (_, i) => say(`put ${i}`, 1)), say('list')),
      join(say('remove nothing', 3), say(''), say(`put ${'x'.repeat(255)}`, 1), say(`put ${'x'.repeat(600)}`, 1)),
    ],
    words: ['put ', 'remove ', 'list', 'end', '\0', ' ', 'x'.repeat(256)].map(utf8),
    bytesMax: 3000,
    run: (input) => program.run(input),
    reset: () => program.end(),
    close: () => program.end(),
  }
}
