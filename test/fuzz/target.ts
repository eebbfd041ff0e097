/** What the fuzzer drives: something that takes bytes from somebody it cannot trust. */
import type { Random } from './random.ts'

export interface Target {
  readonly name: string
  /** Files of the product whose coverage guides; undefined where `run` tells by itself what is new. */
  readonly watches?: RegExp
  readonly seeds: readonly Uint8Array[]
  readonly bytesMax: number
  /** Pieces of the format, for the mutations that know nothing else of it. */
  readonly words?: readonly Uint8Array[]
  /** Mutations that know the format; about half of the inputs come from here. */
  mutate?(input: Uint8Array, random: Random): Uint8Array
  /**
   * Takes one input: throws where something is wrong with how it was taken, and answers in a word what became of it.
   * An answer never heard before makes an input interesting, as code that never ran does.
   */
  run(input: Uint8Array): string | Promise<string>
  /** Forgets what it has heard and seen: only where it tells by itself what is new. */
  reset?(): Promise<void>
  close?(): Promise<void>
}
