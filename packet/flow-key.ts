/**
 * What a flow is found by: one direction's addresses, ports and protocol. A parsed packet is one (packet.ts); others
 * are made of it. One reused object each; nothing is allocated.
 */
export class FlowKey {
  src0 = 0
  src1 = 0
  src2 = 0
  src3 = 0
  dst0 = 0
  dst1 = 0
  dst2 = 0
  dst3 = 0
  /** Source port << 16 | destination port; of an ICMP echo, identifier << 16 | 1 for the question, | 0 for the answer. */
  ports = 0
  protocol = 0
  /** FlowHash's, once the tuple was looked up. */
  hash = 0

  /** As the source of `from`. */
  takeSource(from: FlowKey): void {
    this.src0 = from.src0
    this.src1 = from.src1
    this.src2 = from.src2
    this.src3 = from.src3
  }
}

/**
 * A hash with ten secret multipliers, one a word (multilinear hashing): who does not know them cannot choose tuples that
 * meet in one bucket. The multiplications do not wait for each other.
 */
export class FlowHash {
  declare private readonly m0: number
  declare private readonly m1: number
  declare private readonly m2: number
  declare private readonly m3: number
  declare private readonly m4: number
  declare private readonly m5: number
  declare private readonly m6: number
  declare private readonly m7: number
  declare private readonly m8: number
  declare private readonly m9: number

  constructor(seed: number) {
    let state = seed
    const next = (): number => {
      // SplitMix32: every seed gives another set.
      state = (state + 0x9e3779b9) | 0
      const a = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
      const b = Math.imul(a ^ (a >>> 15), 0x735a2d97)
      return (b ^ (b >>> 15)) | 1
    }
    this.m0 = next()
    this.m1 = next()
    this.m2 = next()
    this.m3 = next()
    this.m4 = next()
    this.m5 = next()
    this.m6 = next()
    this.m7 = next()
    this.m8 = next()
    this.m9 = next()
  }

  /** 32 bits, signed; the high ones are the best. */
  of(key: FlowKey): number {
    const { src0, src1, dst0, dst1 } = key
    let sum = (Math.imul(key.src3, this.m0) + Math.imul(key.dst3, this.m1)) | 0
    sum = (sum + Math.imul(key.ports, this.m2)) | 0
    sum = (sum + Math.imul(key.src2, this.m3) + Math.imul(key.dst2, this.m4)) | 0
    // Of IPv4 these are 0 and add nothing.
    if ((src0 | src1 | dst0 | dst1) !== 0) {
      sum = (sum + Math.imul(src1, this.m5) + Math.imul(dst1, this.m6)) | 0
      sum = (sum + Math.imul(src0, this.m7) + Math.imul(dst0, this.m8)) | 0
    }
    // The low bits of a product know only the low bits of its factors: the high ones are used.
    const mixed = (Math.imul(sum ^ (sum >>> 15), this.m9) + key.protocol) | 0
    return Math.imul(mixed ^ (mixed >>> 15), 0x9e3779b1)
  }
}
