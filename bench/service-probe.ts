/**
 * Run in a pod's namespace: datagrams as a witness of what the data path does, one every millisecond.
 *
 *   node service-probe.ts serve PORT…            answers each datagram with the number of the port it came to
 *   node service-probe.ts watch ADDRESS PORT     says `TIME ANSWER` whenever the answer is another one than before;
 *                                                TIME is the monotonic clock's, in ms
 *   node service-probe.ts pause ADDRESS PORT     {"longestMs":…,"answers":…}, the longest round trip, when told to end
 */
import { createSocket } from 'node:dgram'

const EVERY_MS = 1
/** The first ones are those of a program that is being compiled. */
const ANSWERS_PASSED_OVER = 500

const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6

async function serve(ports: readonly string[]): Promise<void> {
  for (const port of ports) {
    const socket = createSocket('udp4')
    // The question comes back behind the answer.
    socket.on('message', (question, from) => {
      socket.send(Buffer.concat([Buffer.from(`${port} `), question]), from.port, from.address)
    })
    await new Promise<void>((resolve) => socket.bind(Number(port), resolve))
  }
  console.log('ready')
}

/** Asks for ever; `heard` gets the answer and when it was asked for. */
function ask(address: string, port: string, heard: (answer: string, askedMs: number) => void): void {
  const socket = createSocket('udp4')
  socket.on('message', (message) => {
    const [answer = '', asked] = message.toString().split(' ')
    heard(answer, Number(asked))
  })
  // Nobody is there, for a moment.
  socket.on('error', () => {})
  setInterval(() => socket.send(String(nowMs()), Number(port), address, () => {}), EVERY_MS)
}

function watch(address: string, port: string): void {
  let last = ''
  ask(address, port, (answer) => {
    if (answer === last) return
    last = answer
    console.log(`${nowMs()} ${answer}`)
  })
}

function pause(address: string, port: string): void {
  let longestMs = 0
  let answers = 0
  ask(address, port, (_, askedMs) => {
    answers++
    if (answers === ANSWERS_PASSED_OVER) console.log('hears')
    if (answers > ANSWERS_PASSED_OVER) longestMs = Math.max(longestMs, nowMs() - askedMs)
  })
  process.once('SIGTERM', () => {
    console.log(JSON.stringify({ longestMs, answers }))
    process.exit(0)
  })
}

const [what, ...rest] = process.argv.slice(2)
if (what === 'serve') await serve(rest)
else if (what === 'watch') watch(rest[0]!, rest[1]!)
else if (what === 'pause') pause(rest[0]!, rest[1]!)
else throw new Error('use: service-probe.ts serve PORT… | watch ADDRESS PORT | pause ADDRESS PORT')
