/** A pod that deletes its own device, or a namespace that vanishes, must not keep the data path busy for nothing. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { TestCluster } from '../support/cluster.ts'
import { until } from '../support/netns.ts'

const TICKS_PER_SECOND = 100
/** An idle polderd takes a few milliseconds of a second; one that spins takes all of it. */
const MOSTLY_IDLE = 0.5

/** Seconds of CPU the process has taken. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

it('a device that its pod deleted costs nothing, and the others go on', async () => {
  await using cluster = await TestCluster.create(1)
  await cluster.start()
  const node = cluster.nodes[0]!
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((word) => node.addPod(word)))
  try {
    await a!.netns.run('ip', 'link', 'del', 'eth0')
    const started = { cpu: cpuSeconds(node.pid), at: performance.now() }
    await until(() => performance.now() > started.at + 2000)
    const share = (cpuSeconds(node.pid) - started.cpu) / 2
    expect(share).toBeLessThan(MOSTLY_IDLE)
    await b!.netns.run('ping', '-c', '1', '-W', '2', c!.v4)
    // What is left of it goes as any other.
    await node.removePod(a!)
  } finally {
    for (const pod of [a, b, c]) await pod!.netns[Symbol.asyncDispose]()
  }
})
